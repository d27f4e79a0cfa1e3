"""Everyday English words: what the tokenizer is trained on, and what quoted phrases in the exercises are made of.

Words of the tasks this project ships stay out on purpose: a base that knew them would make a fine-tune look better
than it is. tests/model/test_offline_content.py holds that line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

COMMON = """
the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not
what all were we when your can said there use an each which she do how their if will other about out many then them
these so some her would make like him into time has look two write go see number no way could people my than first
water been call who its now find long day did get come made may part over new sound take only little work know place
year live me back most very after thing our just name good sentence man think say great where through before line
right too mean old any same tell boy follow came want show also around form three small set put end does another well
large must big even such because turn here why ask went men read different home us move try kind hand picture again
off play spell air away animal house point page letter mother answer found study still learn should world high every
near add food between own below country plant last school father keep tree never start city earth eye light thought
head under story saw left late few while along might close something seem next open example begin life always those
both paper together got group often run important until children side car mile night sea began grow took river four
carry state once book hear stop without second later miss idea enough eat face watch far really almost let above girl
sometimes cut young talk soon list song being leave family music color red fish mark dog horse bird problem complete
room knew since ever piece told usually friend easy heard order door become top ship across today during short better
best however low hours black products happened whole measure remember early waves listen wind rock space covered fast
several hold himself toward five morning passed vowel true hundred against pattern numeral table north money map farm
pulled draw voice seen cold cried plan notice south sing figure field travel wood fire done half ten fly gave box
finally wait correct oh quickly person became shown minutes verb stars front feel fact inches street decided contain
course surface produce building ocean class note nothing rest carefully scientists inside wheels stay green known
island week machine base ago stood plane system behind ran round boat game force brought understand warm common bring
explain dry though language shape deep thousands yes clear equation yet government filled heat full hot check object
bread rule among noun cannot able size dark ball material special heavy fine pair circle include built matter square
syllables perhaps bill felt suddenly test direction center farmers ready anything divided general energy subject moon
region return believe dance members picked simple cells paint mind love cause rain exercise eggs train blue wish drop
developed window difference distance heart sit sum summer wall forest probably sat main winter wide written length
interest arms brother race present beautiful store job edge past sign record finished discovered wild happy beside
gone sky glass million west lay weather root instruments meet third months paragraph raised represent soft whether
clothes flowers shall teacher held describe drive cross speak solve appear metal son either ice sleep village factors
result jumped snow ride care floor baby buy century outside everything tall already instead phrase soil bed copy free
hope spring case laughed nation quite type themselves temperature bright lead everyone method section lake consonant
within dictionary hair age amount scale pounds although per broken moment tiny possible gold milk quiet natural lot
stone act build middle speed count cat someone sail rolled bear wonder smiled angle fraction melody bottom trip hole
poor surprise beat exactly remain dress iron couldn fingers row least catch wrote shouted continued itself else gas
burning design joined law ears grass grew skin cents key president brown trouble cool cloud lost sent symbols wear bad
save experiment engine alone drawing east pay single touch information express mouth yard equal decimal yourself
control practice report straight rise statement stick party seeds suppose woman coast bank period wire choose clean
visit whose received garden strange caught fell team captain direct ring serve child desert increase history cost
maybe business separate break uncle flow lady students human art feeling supply corner electric insects crops tone hit
sand doctor provide thus won cook tail board modern compound mine wasn fit addition belong safe guess silent trade
rather compare crowd poem enjoy elements indicate except expect seven interesting sense string blow famous value wings
movement pole exciting branches thick lie spot bell fun loud consider suggested thin position entered fruit tied rich
dollars send sight chief stream planets rhythm eight science major observe tube necessary weight meat lifted process
hat property particular swim terms current park sell industry wash block spread cattle wife sharp company radio action
capital factories settled yellow southern truck fair printed chance born triangle molecules repeated column western
church sister oxygen plural various agreed opposite wrong chart prepared pretty solution fresh shop especially shoes
actually nose sugar adjective fig office huge similar score forward stretched experience rose allow workers women
bought led march northern create match win steel total deal determine evening nor rope cotton apple details entire
corn substances smell tools conditions cows track arrived located sir seat division effect underline view
"""

WORDS: tuple[str, ...] = tuple(COMMON.split())


def sentences(count: int, seed: int) -> Iterator[str]:
    """Word sequences with the marks of prose and of JSON, `count` lines of them; deterministic for a seed."""
    rng = random.Random(seed)
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.randint(4, 12))
        if rng.random() < 0.5:
            yield " ".join(words).capitalize() + rng.choice(".!?")
        else:
            pairs = [f'"{"_".join(words[i : i + 2])}": {_value(rng)}' for i in range(0, len(words), 2)]
            yield "{" + ", ".join(pairs) + "}"


def _value(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return str(rng.randint(-20, 100))
    return f'"{" ".join(rng.choices(WORDS, k=rng.randint(1, 4)))}"'

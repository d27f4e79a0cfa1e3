"""Decoding within chess_board's schema: whatever the weights say, an answer comes out that names no square twice."""

import random

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ganglion.core.chess_fen import PIECES, SQUARES
from ganglion.core.errors import GanglionError
from ganglion.core.tasks import CHESS_BOARD, read_answer, write_answer
from ganglion.core.tasks.chess_schema import board_answer
from ganglion.serving.vlm.grammar import GrammarCompiler

END = "<|end|>"


def random_answer(rng):
    pieces = {square: rng.choice(PIECES) for square in rng.sample(SQUARES, rng.randint(0, 64))}
    return board_answer(pieces, rng.choice(["white", "black"]), rng.random() < 0.5)


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level BPE, as the offline models have, small and learned from answers."""
    rng = random.Random(0)
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([random_answer(rng) for _ in range(100)], trainer)
    return made


@pytest.fixture(scope="module")
def grammars(tokenizer):
    return GrammarCompiler(tokenizer, tokenizer.get_vocab_size(), [tokenizer.token_to_id(END)])


def decoded(tokenizer, grammars, logits, most):
    """An answer as the engine writes it: forced tokens, then the best allowed one, closing at the limit."""
    constraint, tokens = grammars.start(CHESS_BOARD.schema), []
    while not constraint.complete:
        tokens += constraint.forced()
        if constraint.complete:
            break
        token = constraint.choose(logits(len(tokens)), closing=len(tokens) >= most)
        constraint.take([token])
        tokens.append(token)
        assert len(tokens) < 2000
    return tokenizer.decode(tokens)


@pytest.mark.parametrize("seed", range(40))
def test_random_logits_write_a_valid_answer_in_its_one_form(tokenizer, grammars, seed):
    rng = np.random.default_rng(seed)
    closing = [index for text, index in tokenizer.get_vocab().items() if "}" in text]

    def logits(_):
        drawn = rng.standard_normal(tokenizer.get_vocab_size()).astype(np.float32)
        if seed % 2:
            drawn[closing] = -100  # a model that never comes to an end of its own
        return drawn

    text = decoded(tokenizer, grammars, logits, most=5000)
    answer = read_answer(text, CHESS_BOARD.schema)
    assert answer is not None, text
    squares = list(answer["pieces"])
    assert squares == [square for square in SQUARES if square in squares]
    assert text == write_answer(answer)
    assert not seed % 2 or squares[-1] == "h1", "nothing else ends what does not end by itself"


@pytest.mark.parametrize("most", [0, 1, 7, 23, 24, 25, 26, 27, 28, 40, 60, 100])
def test_at_its_limit_an_answer_is_closed_and_valid_still(tokenizer, grammars, most):
    rng = np.random.default_rng(most)
    text = decoded(tokenizer, grammars, lambda _: rng.standard_normal(tokenizer.get_vocab_size()), most)
    assert read_answer(text, CHESS_BOARD.schema) is not None
    assert len(tokenizer.encode(text).ids) < most + 40


def test_every_board_is_within_the_grammar(tokenizer, grammars):
    rng = random.Random(1)
    for _ in range(50):
        constraint = grammars.start(CHESS_BOARD.schema)
        constraint.take(tokenizer.encode(random_answer(rng)).ids)
        constraint.forced()
        assert constraint.complete


@pytest.mark.parametrize(
    "pieces",
    ['"a8": "k", "a8": "K"', '"b8": "k", "a8": "K"', '"i8": "k"', '"a8": "x"', '"a8": ""', '"A8": "k"', '"a8": null'],
    ids=["twice", "out of order", "no such square", "no such piece", "no letter", "capitals", "null"],
)
def test_no_other_board_is(tokenizer, grammars, pieces):
    text = board_answer({}, "white", True).replace("{}", "{" + pieces + "}")
    with pytest.raises(GanglionError, match="grammar stopped"):
        grammars.start(CHESS_BOARD.schema).take(tokenizer.encode(text).ids)

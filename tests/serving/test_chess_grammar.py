"""Decoding within chess_board's schema: whatever the weights say, an answer comes out that names each square once."""

import random

import numpy as np
import pytest

from ganglion.core.chess_fen import PIECES, SQUARES
from ganglion.core.errors import GanglionError
from ganglion.core.tasks import CHESS_BOARD, read_answer
from ganglion.core.tasks.chess_schema import RANKS, board_answer, named_pieces
from ganglion.serving.vlm.answering import CLOSING_TOKENS


def random_answer(rng):
    pieces = {square: rng.choice(PIECES) for square in rng.sample(SQUARES, rng.randint(0, 64))}
    return board_answer(pieces, rng.choice(["white", "black"]), rng.random() < 0.5)


@pytest.fixture(scope="module")
def tokenizer(byte_level):
    """Small and learned from answers."""
    rng = random.Random(0)
    return byte_level([random_answer(rng) for _ in range(100)], 600)


@pytest.fixture(scope="module")
def grammars(tokenizer, compiler):
    return compiler(tokenizer)


@pytest.mark.parametrize("seed", range(9))
def test_random_logits_name_every_rank_in_order(tokenizer, grammars, decoded, seed):
    rng = np.random.default_rng(seed)
    closing = [index for text, index in tokenizer.get_vocab().items() if "}" in text or '"' in text]

    def logits(_):
        drawn = rng.standard_normal(tokenizer.get_vocab_size()).astype(np.float32)
        drawn[closing] += (0, -100, 100)[seed % 3]  # as it comes, never to an end of its own, always to one
        return drawn

    tokens, _ = decoded(grammars, CHESS_BOARD.schema, logits, most=5000)
    answer = read_answer(text := tokenizer.decode(tokens), CHESS_BOARD.schema)
    assert answer is not None, text
    assert tuple(answer["pieces"]) == RANKS
    assert text == board_answer(named_pieces(answer), **answer["metadata"])
    assert len(tokens) <= CHESS_BOARD.max_new_tokens


@pytest.mark.parametrize("most", [0, 1, 7, 23, 24, 25, 40, 60, 100, 140])
def test_at_its_limit_an_answer_is_finished_and_valid_still(tokenizer, grammars, decoded, most):
    """Every square is asked for, so that a limit can't shorten it; the engine gives this room beyond any limit."""
    rng = np.random.default_rng(most)
    tokens, _ = decoded(grammars, CHESS_BOARD.schema, lambda _: rng.standard_normal(tokenizer.get_vocab_size()), most)
    assert read_answer(tokenizer.decode(tokens), CHESS_BOARD.schema) is not None
    assert len(tokens) <= CHESS_BOARD.max_new_tokens < CLOSING_TOKENS


def test_a_model_that_says_what_it_learned_is_followed_token_for_token(tokenizer, grammars, decoded):
    """It chooses the view, the coordinates and the squares; of what lies between, most is forced."""
    rng = random.Random(2)
    for _ in range(20):
        learned = tokenizer.encode(random_answer(rng)).ids

        def logits(position, learned=learned):
            return np.eye(1, tokenizer.get_vocab_size(), learned[position], dtype=np.float32)[0]

        tokens, chosen = decoded(grammars, CHESS_BOARD.schema, logits, most=5000)
        assert tokens == learned
        assert 2 + 64 <= chosen < 80 < len(tokens)


def test_every_board_is_within_the_grammar(tokenizer, grammars):
    rng = random.Random(1)
    for _ in range(50):
        constraint = grammars.start(CHESS_BOARD.schema)
        constraint.take(tokenizer.encode(random_answer(rng)).ids)
        constraint.forced()
        assert constraint.complete


ROW = '"8": ". . . . . . . ."'
OTHERS = {
    "a rank twice": (f"{ROW}, ", f"{ROW}, {ROW}, "),
    "a rank left out": (f"{ROW}, ", ""),
    "ranks out of order": ('"7"', '"6"'),
    "no such rank": ('"8"', '"9"'),
    "a square by name": ('"8": ". . . . . . . ."', '"a8": "k"'),
    "nine signs": (ROW, ROW.replace(".", ". .", 1)),
    "seven signs": (ROW, ROW.replace(". .", ".", 1)),
    "no spaces": (ROW, '"8": "........"'),
    "two spaces": (ROW, ROW.replace(". .", ".  .", 1)),
    "no such piece": (ROW, ROW.replace(".", "x", 1)),
    "no signs": (ROW, '"8": ""'),
    "null": (ROW, '"8": null'),
}


@pytest.mark.parametrize(("part", "other"), OTHERS.values(), ids=OTHERS)
def test_no_other_board_is(tokenizer, grammars, part, other):
    text = board_answer({}, "white", True)
    grammars.start(CHESS_BOARD.schema).take(tokenizer.encode(text).ids)
    assert part in text
    with pytest.raises(GanglionError, match="grammar stopped"):
        grammars.start(CHESS_BOARD.schema).take(tokenizer.encode(text.replace(part, other)).ids)

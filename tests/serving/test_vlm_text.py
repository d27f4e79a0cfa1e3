"""Text that is told piece by piece: the whole, in whole characters, up to a stop text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.serving.vlm.text import TextPieces

TEXT = st.text(st.sampled_from('ab \n"{é東🙂') | st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def tokenizer(byte_level):
    return byte_level(['abab ba a\nb "{ab} é東 naïve'] * 5, 300)


def told(tokenizer, text, cuts, stops=()):
    """Pieces of a text whose tokens come in steps of these sizes, in turn."""
    pieces, ids = TextPieces(tokenizer.decode, stops), tokenizer.encode(text).ids
    given, at = [], 0
    while at < len(ids) and not pieces.stopped:
        step = cuts[len(given) % len(cuts)]
        given.append(pieces.add(ids[at : at + step]))
        at += step
    return [*given, pieces.rest()], pieces.stopped


@given(text=TEXT, cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_pieces_make_the_whole_text_and_none_ends_within_a_character(tokenizer, text, cuts):
    pieces, stopped = told(tokenizer, text, cuts)
    assert "".join(pieces) == text
    assert not stopped
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@given(
    text=TEXT,
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    stops=st.lists(st.text("ab \n🙂", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_nothing_of_a_stop_text_is_told_nor_what_follows_it(tokenizer, text, cuts, stops):
    pieces, stopped = told(tokenizer, text, cuts, stops)
    ends = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    said = "".join(pieces)
    assert stopped == bool(ends)
    assert text.startswith(said)
    # Of two stop texts, the one that is whole first ends it.
    assert said == text if not ends else any(text.startswith(stop, len(said)) for stop in stops)

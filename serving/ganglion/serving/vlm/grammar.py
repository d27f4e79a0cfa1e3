"""Decoding within a JSON schema: which tokens may come next, and which must.

Whitespace is exactly that of `ganglion.core.tasks.write_answer`, so the grammar's only form of an answer is the one a
model was trained to write.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from tokenizers import Tokenizer

from ganglion.core.errors import InputError
from ganglion.core.tasks.answers import WRITING

# Beside these, an integer's range is not taken apart.
_SAYS_MORE = {"enum", "const", "exclusiveMinimum", "exclusiveMaximum"}
# Tokens that end a value, best first: of a string (and no other opened), of what a bracket opened, of a number.
_CLOSING = (re.compile(r'"[}\]]*'), re.compile(r"[}\]]+"), re.compile(r",.*"))


class GrammarCompiler:
    """Grammars over one vocabulary.

    Args:
        tokenizer: the model's.
        vocabulary: width of the logits; it may exceed the tokenizer's.
        eos_token_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, eos_token_ids: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self._tokenizer = llguidance.LLTokenizer(tokenizer.to_str(), n_vocab=vocabulary, eos_token=list(eos_token_ids))
        self._closing = np.zeros((len(_CLOSING), vocabulary), np.bool_)
        for text, index in tokenizer.get_vocab(with_added_tokens=False).items():
            for rank, ending in enumerate(_CLOSING):
                self._closing[rank, index] = ending.fullmatch(text) is not None
        self._compiled = functools.lru_cache(maxsize=32)(self._compile)

    def start(self, schema: Mapping[str, Any]) -> Constraint:
        """A fresh constraint for one answer.

        Raises:
            InputError: the schema is not one that a grammar can be made of.
        """
        return Constraint(self._compiled(json.dumps(_one_zero(schema))).deep_copy(), self._closing)

    def _compile(self, schema: str) -> llguidance.LLMatcher:
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=dict(WRITING))
            reason = llguidance.LLMatcher.validate_grammar(grammar, self._tokenizer)
        except ValueError as error:
            reason = str(error)
        if reason:
            raise InputError(f"no grammar for this JSON schema ({' '.join(reason.split()):.160})", remedy="simplify it")
        return llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)


def _one_zero(schema: Any) -> Any:
    """The same schema with integers below zero apart from the others: in a range over both, -0 would be written too."""
    if isinstance(schema, list):
        return [_one_zero(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {key: part if key in ("enum", "const") else _one_zero(part) for key, part in schema.items()}
    low, high = made.get("minimum", -math.inf), made.get("maximum", math.inf)
    if made.get("type") != "integer" or _SAYS_MORE & made.keys() or not low < 0 <= high:
        return made
    return {"anyOf": [{**made, "maximum": -1}, {**made, "minimum": 0}]}


class Constraint:
    """The grammar's state within one answer."""

    def __init__(self, matcher: llguidance.LLMatcher, closing: npt.NDArray[np.bool_]) -> None:
        self._matcher, self._closing = matcher, closing
        self._mask = allocate_token_bitmask(1, closing.shape[1])

    @property
    def complete(self) -> bool:
        """The answer is whole, and nothing but an end can follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def forced(self) -> list[int]:
        """Tokens that must come next, as the tokenizer would write them; maybe none. They count as taken."""
        tokens: list[int] = self._matcher.compute_ff_tokens()
        self.take(tokens)
        return tokens

    def take(self, tokens: Sequence[int]) -> None:
        """Go on past these tokens.

        Raises:
            InputError: the grammar gave up on them: they are not its own choice, or the schema goes beyond what
                llguidance works out.
        """
        if tokens and not self._matcher.consume_tokens(list(tokens)):
            reason = " ".join(self._matcher.get_error().split())
            raise InputError(f"the grammar stopped ({reason:.160})", remedy="simplify the schema")

    def choose(self, logits: npt.NDArray[np.float32], closing: bool) -> int:
        """The best allowed token; where `closing`, the best one that ends the value at hand, if any does.

        Args:
            logits: (V,).
            closing: the answer must come to its end.
        """
        fill_next_token_bitmask(self._matcher, self._mask)
        bits = self._mask.view(np.uint8)[0]
        best = int(logits.argmax())
        # Of a trained model nearly always allowed. Unpacking a mask of 151,936 tokens takes longer than making it
        # (benchmarks/constrained_decoding.py).
        if not closing and bits[best >> 3] >> (best & 7) & 1:
            return best
        allowed = np.unpackbits(bits, bitorder="little")[: len(logits)].view(np.bool_)
        if closing:
            for ending in self._closing:
                if (allowed & ending).any():
                    allowed &= ending
                    break
        return int(np.where(allowed, logits, -np.inf).argmax())

"""A bundle with a small random VLM, made once per worker, and what decoding within a grammar needs beside a model."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from traces_for_test import kept_traces
from vlm_bundle_for_test import random_vlm, write_vlm_bundle

from ganglion.serving.vlm.grammar import GrammarCompiler

Logits = Callable[[int], np.ndarray]
END = "<|end|>"


@pytest.fixture(scope="session", autouse=True)
def traces():
    with kept_traces():
        yield


@pytest.fixture(scope="session")
def byte_level() -> Callable[[Iterable[str], int], Tokenizer]:
    """byte_level(texts, size): byte-level BPE, as the offline models have, learned from texts; the end is END."""

    def learn(texts: Iterable[str], size: int) -> Tokenizer:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator(texts, trainer)
        return made

    return learn


@pytest.fixture(scope="session")
def compiler() -> Callable[[Tokenizer], GrammarCompiler]:
    """compiler(tokenizer): grammars over its vocabulary."""
    return lambda tokenizer: GrammarCompiler(tokenizer, tokenizer.get_vocab_size(), [tokenizer.token_to_id(END)])


@pytest.fixture(scope="session")
def decoded() -> Callable[..., tuple[list[int], int]]:
    """decoded(grammars, schema, logits, most): an answer as the engine writes it, and how many tokens were chosen.

    Forced tokens come first, then the best allowed one by logits(tokens so far), closing from `most` tokens on.
    """

    def write(grammars: GrammarCompiler, schema: Mapping[str, Any], logits: Logits, most: int) -> tuple[list[int], int]:
        constraint, chosen = grammars.start(schema), 0
        tokens: list[int] = []
        while not constraint.complete:
            tokens += constraint.forced()
            if constraint.complete:
                break
            token = constraint.choose(logits(len(tokens)), closing=len(tokens) >= most)
            constraint.take([token])
            tokens.append(token)
            chosen += 1
            assert len(tokens) < 5000
        return tokens, chosen

    return write


@pytest.fixture(scope="session")
def vlm_base():
    """(model, processor) of two layers each, with random weights."""
    return random_vlm()


@pytest.fixture(scope="session")
def vlm_bundle(made_vlm_bundle):
    """The same model as an opened bundle; its context is 512 tokens."""
    return made_vlm_bundle("float32")


@pytest.fixture(scope="session")
def made_vlm_bundle(vlm_base, tmp_path_factory):
    """made_vlm_bundle(language): that bundle with its decoder in one of the precisions."""

    @functools.cache
    def made(language: str):
        return write_vlm_bundle(vlm_base, tmp_path_factory.mktemp(f"vlm_bundle_{language}"), language)

    return made

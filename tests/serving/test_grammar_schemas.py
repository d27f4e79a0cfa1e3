"""Other people's schemas (guidance-ai/jsonschemabench): what is written within them is valid to another validator."""

import json
from collections import Counter

import jsonschema
import numpy as np
import pytest

from ganglion.core.errors import InputError

MOST_TOKENS = 400


@pytest.fixture
def schemas(shared_data):
    file = shared_data / "jsonschemabench/schemas.jsonl"
    if not file.is_file():
        pytest.skip("no jsonschemabench in ../shared/data")
    return [json.loads(line)["schema"] for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tokenizer(byte_level):
    return byte_level(
        ["a json answer with names, numbers like 12.5 and dates 2024-01-02T03:04:05Z, true or null"] * 3, 500
    )


@pytest.mark.parametrize("seed", range(3))
def test_random_logits_within_an_accepted_schema_write_valid_json(schemas, tokenizer, compiler, seed):
    """All of the schemas; one that is not accepted says so before anything is written."""
    grammars, outcomes = compiler(tokenizer), Counter()
    for index, schema in enumerate(schemas):
        rng = np.random.default_rng((seed, index))
        try:
            constraint = grammars.start(schema)
        except InputError:
            outcomes["refused"] += 1
            continue
        text = written(constraint, tokenizer, rng)
        if text is None:
            outcomes["too long"] += 1
            continue
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        errors = list(kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(json.loads(text)))
        assert not errors, f"schema {index}: {errors[0].message:.200}"
        outcomes["valid"] += 1
    assert outcomes["valid"] > 250
    assert outcomes["refused"] < 120 and outcomes["too long"] < 20, "arrays and texts of a great least length"


def written(constraint, tokenizer, rng):
    """An answer of random choices that closes from its 60th token on; None where it does not come to an end."""
    size, tokens = tokenizer.get_vocab_size(), []
    while not constraint.complete and len(tokens) < MOST_TOKENS:
        tokens += constraint.forced()
        if not constraint.complete:
            token = constraint.choose(rng.standard_normal(size).astype(np.float32), closing=len(tokens) >= 60)
            if token == 0:  # the end, where more could follow
                break
            constraint.take([token])
            tokens.append(token)
    else:
        if not constraint.complete:
            return None
    return tokenizer.decode(tokens)

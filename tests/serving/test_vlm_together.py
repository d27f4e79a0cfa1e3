"""Answers written together equal those written alone, whoever comes, goes, is cancelled or fails beside them."""

import functools
import random
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
from PIL import Image

from ganglion.core.errors import InputError
from ganglion.core.tasks import get_task, read_answer, task_names
from ganglion.serving.vlm.decoder import DecoderState
from ganglion.serving.vlm.engine import VlmEngine
from ganglion.serving.vlm.joined import JoinedStates
from ganglion.serving.vlm.limits import ServingLimits
from ganglion.serving.vlm.refusals import Busy, TooLate

pytestmark = pytest.mark.slow
TASKS = [task for task in map(get_task, task_names()) if task.schema is not None]
NEVER_S = 60.0  # a test that waits so long has failed


@pytest.fixture(scope="module")
def engine(vlm_bundle):
    return VlmEngine.open(vlm_bundle)


@functools.cache
def picture(seed):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*rng.integers(60, 150, 2), 3), dtype=np.uint8))


def some_question(rng):
    """Arguments of `generate`, as different as they may be."""
    task = rng.choice([None, None, *TASKS])
    return {
        "images": [picture(rng.randrange(4)) for _ in range(rng.choice([0, 0, 1, 2]))],
        "prompt": "step " * rng.randrange(1, 60),
        "max_new_tokens": rng.randrange(1, 40),
        "schema": task and task.schema,
    }


class Gate:
    """Told of tokens, it holds the scheduler where it is until opened."""

    def __init__(self):
        self.reached, self._open = threading.Event(), threading.Event()

    def __call__(self, tokens):
        self.reached.set()
        assert self._open.wait(NEVER_S)

    def open(self):
        self._open.set()


def held(engine, **options):
    """(gate, answering): an answer that stands still at its first token."""
    gate = Gate()
    answering = engine.ask([], "hold", max_new_tokens=options.pop("max_new_tokens", 8), on_tokens=gate, **options)
    assert gate.reached.wait(NEVER_S)
    return gate, answering


def idle(engine):
    """Wait until nothing runs; what it then holds."""
    until = time.monotonic() + NEVER_S
    while (engine.load.running or engine.load.waiting) and time.monotonic() < until:
        time.sleep(0.005)
    return engine.load


@pytest.mark.parametrize("seed", range(4))
def test_rows_side_by_side_have_the_logits_they_have_alone(engine, seed):
    rng = np.random.default_rng(seed)
    alone, rows = [], []
    for length in rng.integers(1, 60, rng.integers(2, 6)):
        ids, positions = rng.integers(0, 1000, (1, length)), np.tile(np.arange(length), (3, 1, 1))
        for states in (alone, rows):
            states.append(DecoderState(engine._decoder))
            states[-1].read_prompt(ids, positions, None)
    for _ in range(4):
        together = JoinedStates(rows)
        for _ in range(3):
            steps = [rng.integers(0, 1000, count).tolist() for count in rng.choice([1, 1, 1, 2, 7], len(rows))]
            want = np.stack([state.read(step) for state, step in zip(alone, steps, strict=True)])
            np.testing.assert_allclose(together.read(steps), want, rtol=0, atol=1e-5)
        together.part()
        for one, other in zip(alone, rows, strict=True):
            assert (one.length, one.next_position) == (other.length, other.next_position)
            for name in one.cache:
                np.testing.assert_allclose(other.cache[name].numpy(), one.cache[name].numpy(), rtol=0, atol=1e-5)
        if len(rows) > 2:
            left = int(rng.integers(len(rows)))
            del alone[left], rows[left]


@pytest.mark.parametrize("seed", range(3))
def test_answers_together_equal_those_alone_however_they_come_and_go(engine, seed):
    rng = random.Random(seed)
    questions = [some_question(rng) for _ in range(14)]
    asked = []
    for question in questions:
        asked.append(engine.ask(**question))
        if rng.random() < 0.3:
            time.sleep(rng.random() * 0.02)
        if rng.random() < 0.3:
            rng.choice(asked).result.cancel()
    compared = 0
    for question, one in zip(questions, asked, strict=True):
        try:
            answer = one.result.result(NEVER_S)
        except CancelledError:
            continue
        alone = engine.generate(**question)
        assert (answer.tokens, answer.text, answer.complete) == (alone.tokens, alone.text, alone.complete)
        compared += 1
    assert compared >= 5
    assert idle(engine).kv_bytes == 0


def test_answers_are_indeed_written_together(engine, monkeypatch):
    rows = []
    read = JoinedStates.read
    monkeypatch.setattr(JoinedStates, "read", lambda self, steps: rows.append(len(steps)) or read(self, steps))
    gate, first = held(engine)
    others = [engine.ask([], f"case {k}", max_new_tokens=8) for k in range(3)]
    gate.open()
    for one in (first, *others):
        one.result.result(NEVER_S)
    assert max(rows) >= 3


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_decoder_reads_alone_to_the_bit_whoever_is_beside(made_vlm_bundle, precision, monkeypatch):
    engine = VlmEngine.open(made_vlm_bundle(precision))
    seen = {}
    read = DecoderState.read

    def recorded(self, tokens):
        logits = read(self, tokens)
        seen.setdefault(id(self), (self, []))[1].append(logits.copy())
        return logits

    monkeypatch.setattr(DecoderState, "read", recorded)
    questions = [([], f"case {'x' * k}") for k in range(4)]
    together = [engine.ask(*question, max_new_tokens=12) for question in questions]
    for one in together:
        one.result.result(NEVER_S)
    of_together = [seen[id(one.state)][1] for one in together]
    for question, logits in zip(questions, of_together, strict=True):
        one = engine.ask(*question, max_new_tokens=12)
        one.result.result(NEVER_S)
        np.testing.assert_array_equal(logits, seen[id(one.state)][1])


def check_all_tasks(engine, count):
    jobs = [(TASKS[k % len(TASKS)], k) for k in range(count)]
    asked = [
        engine.ask([picture(k % 4)] * (k % 2), f"case {k}", max_new_tokens=10 + k % 30, schema=task.schema)
        for task, k in jobs
    ]
    for (task, _), one in zip(jobs, asked, strict=True):
        answer = one.result.result(NEVER_S)
        assert answer.complete
        assert read_answer(answer.text, task.schema) is not None, answer.text


@pytest.mark.parametrize(("precision", "count"), [("float32", 100), ("int8", 24), ("int4", 24)])
def test_constrained_answers_are_valid_for_every_task_under_concurrency(made_vlm_bundle, precision, count):
    limits = ServingLimits(waiting=count, join_quantized=True)
    check_all_tasks(VlmEngine.open(made_vlm_bundle(precision), limits=limits), count)


@pytest.mark.acceptance
def test_a_thousand_constrained_answers_are_valid_under_concurrency(vlm_bundle):
    check_all_tasks(VlmEngine.open(vlm_bundle, limits=ServingLimits(running=16, waiting=1000)), 1000)


def test_what_can_never_fit_is_refused_and_what_fits_waits_its_turn(vlm_bundle):
    token_bytes = VlmEngine.open(vlm_bundle)._decoder.token_bytes
    engine = VlmEngine.open(vlm_bundle, limits=ServingLimits(kv_bytes=2 * token_bytes * 60))
    with pytest.raises(InputError, match=r"may come to \d+ tokens, which need .* MB of cache of .* MB in all"):
        engine.ask([], "go", max_new_tokens=100)
    gate, first = held(engine, max_new_tokens=20)
    asked = [engine.ask([], "go", max_new_tokens=20) for _ in range(3)]
    assert (engine.load.running, engine.load.waiting) == (1, 3), "two do not fit"
    assert 0 < engine.load.kv_bytes <= engine.load.kv_bytes_budget == 2 * token_bytes * 60
    gate.open()
    alone = engine.generate([], "go", max_new_tokens=20)
    assert [one.result.result(NEVER_S).tokens for one in asked] == [alone.tokens] * 3
    assert len(first.result.result(NEVER_S).tokens) == 20
    assert idle(engine).kv_bytes == 0


def test_a_full_queue_refuses_at_once_and_takes_again_when_one_left(vlm_bundle):
    engine = VlmEngine.open(vlm_bundle, limits=ServingLimits(running=1, waiting=2))
    gate, first = held(engine)
    waiting = [engine.ask([], f"case {k}", max_new_tokens=2) for k in range(2)]
    with pytest.raises(Busy, match="3 requests run or wait already; ask again later"):
        engine.ask([], "one more", max_new_tokens=2)
    waiting[0].result.cancel()
    after = engine.ask([], "one more", max_new_tokens=2)
    gate.open()
    for one in (first, waiting[1], after):
        assert one.result.result(NEVER_S).tokens
    assert waiting[0].result.cancelled()


def test_requests_are_served_in_the_order_they_came(vlm_bundle):
    engine = VlmEngine.open(vlm_bundle, limits=ServingLimits(running=1))
    gate, _ = held(engine)
    order = []
    asked = [engine.ask([], f"case {k}", max_new_tokens=3, on_tokens=lambda _, k=k: order.append(k)) for k in range(5)]
    gate.open()
    for one in asked:
        one.result.result(NEVER_S)
    assert order == sorted(order) and set(order) == set(range(5))


def test_a_cancelled_answer_frees_its_place_by_the_next_token(vlm_bundle):
    engine = VlmEngine.open(vlm_bundle, limits=ServingLimits(running=2))
    told, seen = [], []
    gate, first = held(engine, max_new_tokens=400)
    other = engine.ask([], "other", max_new_tokens=400, on_tokens=told.append)
    third = engine.ask([], "third", max_new_tokens=2, on_tokens=lambda _: seen.append(len(told)))
    first.result.cancel()
    gate.open()
    assert third.result.result(NEVER_S).tokens
    assert seen[0] <= 3, "rounds that the other had before the third came in"
    assert not first.state.cache, "its memory is given back"
    other.result.cancel()
    assert idle(engine).kv_bytes == 0
    assert len(told) < 400


def test_a_stream_that_is_closed_writes_no_more(engine):
    stream = engine.stream([], "go", max_new_tokens=400)
    next(stream)
    stream.close()
    assert idle(engine).running == 0


def test_an_answer_is_given_up_at_its_deadline_running_or_waiting(vlm_bundle):
    engine = VlmEngine.open(vlm_bundle, limits=ServingLimits(running=1))
    gate, first = held(engine, max_new_tokens=400, deadline_s=0.05)
    waits = engine.ask([], "waits", max_new_tokens=4, deadline_s=0.05)
    patient = engine.ask([], "patient", max_new_tokens=4)
    time.sleep(0.06)
    gate.open()
    for one in (first, waits):
        with pytest.raises(TooLate, match="by its deadline"):
            one.result.result(NEVER_S)
    assert patient.result.result(NEVER_S).tokens


def test_one_that_fails_leaves_the_others_as_they_are(engine):
    """Its grammar stops it in the middle: one schema goes beyond what llguidance works out; a listener raises."""
    beyond = {
        "type": "object",
        "properties": {f"k{i}": {"type": "string", "pattern": f"[a-z]{{{i}}}x"} for i in range(900)},
    }
    alone = [engine.generate([], f"case {k}", max_new_tokens=20).tokens for k in range(3)]
    gate, first = held(engine)

    def deaf(tokens):
        raise RuntimeError("nobody listens")

    bad = [
        engine.ask([], "bad", max_new_tokens=20, schema=beyond),
        engine.ask([], "go", max_new_tokens=9, on_tokens=deaf),
    ]
    good = [engine.ask([], f"case {k}", max_new_tokens=20) for k in range(3)]
    gate.open()
    with pytest.raises(InputError, match="the grammar stopped") as stopped:
        bad[0].result.result(NEVER_S)
    assert "\n" not in str(stopped.value)
    with pytest.raises(RuntimeError, match="nobody listens"):
        bad[1].result.result(NEVER_S)
    assert [one.result.result(NEVER_S).tokens for one in good] == alone
    assert first.result.result(NEVER_S).tokens


def test_text_that_is_forced_beyond_the_context_is_cut_and_costs_no_more_memory(engine):
    answer = engine.generate([], "go", schema={"const": "a b c d " * 400}, max_new_tokens=60)
    assert not answer.complete
    assert len(answer.tokens) <= 60 + 256


def test_limits_without_room_are_refused():
    with pytest.raises(InputError, match="leaves no room"):
        ServingLimits(running=0)

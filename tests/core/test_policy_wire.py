"""Messages between robot and policy server: what goes in comes out, and nobody's message is taken on trust."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import (
    NoSession,
    PolicyRequest,
    ServerFull,
    error_text,
    read_error,
    read_reply,
    read_request,
    reply_tensors,
    request_tensors,
)

STAMPS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.integers(0, 2**62 - 1)


@given(
    st.sampled_from([np.float16, np.float32]),
    st.integers(0, 30),
    NUMBERS,
    st.none() | st.text(max_size=200),
    st.binary(max_size=20),
    st.lists(st.tuples(st.text(), STAMPS, st.binary()), max_size=3),
    st.booleans(),
)
def test_a_request_comes_back_as_it_was(dtype, count, stamp, instruction, token, frames, prime):
    samples = np.random.default_rng(count).standard_normal((count, 5)).astype(dtype)
    state = np.arange(3, dtype=np.float32) if count % 2 else None
    sent = PolicyRequest(
        Hop(stamp, stamp, samples, state), prime, tuple(Frame(*one) for one in frames), instruction, token
    )
    found = read_request(request_tensors(sent))
    assert (found.prime, found.frames, found.instruction, found.token) == (prime, sent.frames, instruction, token)
    assert (found.hop.first_seq, found.hop.stamp_ns) == (stamp, stamp)
    assert found.hop.samples.dtype == dtype
    np.testing.assert_array_equal(found.hop.samples, samples)
    assert (found.hop.state is None) == (state is None)


@pytest.mark.parametrize("age", [None, 0.0, 41.5])
def test_a_reply_comes_back_as_it_was(age):
    chunk = np.random.default_rng(0).standard_normal((8, 7)).astype(np.float32)
    sent = Reply(chunk, 12, 7_000_000_000_000, True, age, ("gap", "stale_frame"), {"head": 0.5, "encoder": 1.25})
    found = read_reply(reply_tensors(sent, 7))
    np.testing.assert_array_equal(found.chunk, chunk)
    assert (found.last_seq, found.stamp_ns, found.ready, found.vl_age_ms) == (12, 7_000_000_000_000, True, age)
    assert found.flags == sent.flags
    assert found.timings_ms == sent.timings_ms


def test_no_whole_hop_yet_is_no_reply():
    assert read_reply(reply_tensors(None, 7)) is None


def tensors(**changed):
    frame = Frame("scene", 5, b"jpeg")
    good = request_tensors(PolicyRequest(Hop(0, 0, np.zeros((13, 4), np.float16)), False, (frame,), "go", b"token"))
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def of(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"samples_fp16": None}, "holds 0 tensors of samples"),
        ({"samples_fp32": np.zeros((13, 4), np.float32)}, "holds 2 tensors of samples"),
        ({"clock": None}, "'clock' has shape"),
        ({"clock": np.zeros(3, np.int64)}, r"'clock' has shape \(3,\)"),
        ({"frame_cameras": None}, "'frame_cameras' has shape"),
        ({"frame_stamps_ns": np.zeros(2, np.int64)}, "'frame_stamps_ns' has shape"),
        ({"frame_cameras": of(b"\xff\xfe")}, "'frame_cameras' is not UTF-8"),
        ({"instruction": of(b"\xc3\x28")}, "'instruction' is not UTF-8"),
        ({"instruction": of(b"a", b"b")}, "'instruction' has shape"),
        ({"prime": np.array([], bool)}, "'prime' has shape"),
        ({"token": of(b"token")}, r"'token' has shape \(1,\) of object; send up to 64 uint8"),
        ({"token": np.zeros((1, 4), np.uint8)}, r"'token' has shape \(1, 4\) of uint8"),
        ({"token": np.zeros(65, np.uint8)}, r"'token' has shape \(65,\) of uint8"),
        ({"clock": np.array([-1, 0])}, "'clock' is -1, 0; number samples from 0 on"),
        ({"clock": np.array([2**63 - 1, 0])}, "'clock' is 9223372036854775807, 0"),
        ({"clock": np.array([0, -(2**63)])}, "'clock' is 0, -9223372036854775808"),
        ({"instruction": of(b"a" * 1025)}, "instruction has 1025 bytes; send at most 1024"),
        (
            {"frames": of(*[b"x"] * 65), "frame_cameras": of(*[b"x"] * 65), "frame_stamps_ns": np.zeros(65, np.int64)},
            "holds 65 frames; send the newest of each camera",
        ),
    ],
)
def test_a_request_that_contradicts_itself_is_refused_in_a_line(changed, said):
    with pytest.raises(InputError, match=said) as refused:
        read_request(tensors(**changed))
    assert "\n" not in str(refused.value)


def test_what_is_within_its_bounds_by_one_is_read():
    most = tensors(clock=np.array([2**62 - 1, 1 - 2**62]), instruction=of(b"a" * 1024))
    found = read_request(most)
    assert (found.hop.first_seq, found.hop.stamp_ns, len(found.instruction)) == (2**62 - 1, 1 - 2**62, 1024)


def test_a_reply_that_is_none_is_refused():
    broken = reply_tensors(Reply(np.zeros((8, 7), np.float32), 0, 0, True, None, (), {"head": 1.0}), 7)
    for name in broken:
        with pytest.raises(InputError, match="is no reply"):
            read_reply({key: value for key, value in broken.items() if key != name})


def report(**changed):
    fields = {"last_seq": 0, "stamp_ns": 0, "ready": True, "vl_age_ms": None, "flags": [], "timings_ms": {}}
    return np.frombuffer(json.dumps({**fields, **changed}).encode(), np.uint8)


@pytest.mark.parametrize(
    "broken",
    [
        np.frombuffer(b"\xff{", np.uint8),
        np.frombuffer(b"[1]", np.uint8),
        report(last_seq=1.5),
        report(stamp_ns="now"),
        report(vl_age_ms=[]),
        report(flags=None),
        report(timings_ms={"head": None}),
    ],
)
def test_a_report_that_is_none_is_refused(broken):
    chunk = np.zeros((8, 7), np.float32)
    assert read_reply({"chunk": chunk, "report": report()}).ready
    with pytest.raises(InputError, match="is no reply"):
        read_reply({"chunk": chunk, "report": broken})


@pytest.mark.parametrize("kind", [NoSession, ServerFull, InputError, GanglionError])
def test_an_error_is_known_again_on_the_other_side(kind):
    found = read_error(error_text(kind("is wrong", where="sensor tip", remedy="mend it")))
    assert type(found) is kind
    assert str(found).endswith("sensor tip: is wrong; mend it")


def test_a_sequence_that_triton_does_not_know_is_a_session_that_is_lost():
    said = "inference request for sequence 99 to model 'policy' must specify the START flag on the first request"
    assert isinstance(read_error(said), NoSession)

"""The stream's HTTP/2 against the library h2 as its server, and against frames that no server should send."""

import random

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hyperframe import frame
from hypothesis import given, settings
from hypothesis import strategies as st

from ganglion.robot_bridge.http2 import STREAM, Http2Error, Http2Stream

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "x"), ("who", "robot")]
CODES = h2.settings.SettingCodes
OK = [(":status", "200"), ("content-type", "application/grpc")]


class Peer:
    """An h2 server and our stream, each given what the other says in pieces of chance's choosing."""

    def __init__(self, seed=0):
        self.dice, self.ours = random.Random(seed), Http2Stream(REQUEST)
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.server.initiate_connection()
        self.events, self.read, self.headers, self.pending, self.ends = [], b"", None, b"", 0

    def pieces(self, data):
        while data:
            size = self.dice.randint(1, len(data))
            yield data[:size]
            data = data[size:]

    def turn(self, acknowledge=True):
        """Each side says what it has to; whether anything was said."""
        said = self.ours.output()
        for piece in self.pieces(said):
            for event in self.server.receive_data(piece):
                self.ends += isinstance(event, h2.events.StreamEnded)
                if isinstance(event, h2.events.RequestReceived):
                    self.headers = event.headers
                elif isinstance(event, h2.events.DataReceived):
                    self.read += event.data
                    if acknowledge:
                        self.server.acknowledge_received_data(event.flow_controlled_length, STREAM)
        self.write()
        answered = self.server.data_to_send()
        for piece in self.pieces(answered):
            self.events += self.ours.take(piece)
        return bool(said or answered)

    def write(self):
        while self.pending:
            room = min(self.server.local_flow_control_window(STREAM), self.server.max_outbound_frame_size)
            if room <= 0:
                return
            self.server.send_data(STREAM, self.pending[:room])
            self.pending = self.pending[room:]

    def settle(self):
        while self.turn():
            pass

    @property
    def answered(self):
        return b"".join(event for event in self.events if isinstance(event, bytes))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 200_000), max_size=4),
    st.integers(0, 200_000),
    st.sampled_from([1_000, 65_535, 300_000]),
    st.sampled_from([16_384, 100_000]),
)
def test_bytes_arrive_as_they_were_within_every_window(seed, sizes, answer, window, frame_bytes):
    initial = {
        h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
        h2.settings.SettingCodes.MAX_FRAME_SIZE: frame_bytes,
    }
    peer, dice = Peer(seed, **{}), random.Random(seed)
    peer.server.update_settings(initial)
    messages = [dice.randbytes(size) for size in sizes]
    peer.settle()
    assert (b"who", b"robot") in peer.headers
    peer.server.send_headers(STREAM, OK)
    peer.pending = dice.randbytes(answer)
    wanted = peer.pending
    for message in messages:
        peer.ours.send(message)
        peer.turn()
    peer.settle()
    assert peer.read == b"".join(messages)
    assert peer.answered == wanted
    assert peer.events[0] == dict(OK)


def test_nothing_beyond_the_servers_window_goes_out():
    peer = Peer()
    peer.settle()
    peer.ours.send(bytes(200_000))
    while peer.turn(acknowledge=False):
        pass
    assert len(peer.read) == 65_535
    peer.server.acknowledge_received_data(65_535, STREAM)
    peer.settle()
    assert len(peer.read) == 200_000


def test_a_window_that_shrinks_below_what_is_out_holds_everything():
    ours = Http2Stream(REQUEST)
    ours.output()
    list(ours.take(frame.SettingsFrame().serialize()))
    ours.output()
    ours.send(bytes(1000))
    assert len(ours.output()) == 1009
    list(ours.take(frame.SettingsFrame(settings={frame.SettingsFrame.INITIAL_WINDOW_SIZE: 500}).serialize()))
    assert ours.output() == frame.SettingsFrame(flags=["ACK"]).serialize()
    ours.send(bytes(1000))
    list(ours.take(frame.WindowUpdateFrame(STREAM, 500).serialize()))
    assert ours.output() == b""
    list(ours.take(frame.WindowUpdateFrame(STREAM, 1).serialize()))
    assert len(ours.output()) == 10


def test_hours_of_answers_are_read_since_its_own_windows_are_told_anew():
    peer = Peer()
    peer.settle()
    peer.server.send_headers(STREAM, OK)
    for _ in range(40):
        peer.pending = bytes(1 << 20)
        peer.settle()
        assert peer.pending == b""
    assert len(peer.answered) == 40 << 20


def test_the_end_is_said_once_after_all_that_was_sent():
    peer = Peer()
    peer.ours.send(bytes(100_000))
    peer.ours.end()
    peer.settle()
    assert len(peer.read) == 100_000
    assert peer.ends == 1
    assert peer.ours.output() == b""


def greeted():
    ours = Http2Stream(REQUEST)
    list(ours.take(frame.SettingsFrame().serialize()))
    ours.output()
    return ours


def test_pings_are_answered_and_answers_to_pings_are_not():
    ours = greeted()
    assert list(ours.take(frame.PingFrame(opaque_data=b"12345678").serialize())) == []
    assert ours.output() == frame.PingFrame(opaque_data=b"12345678", flags=["ACK"]).serialize()
    list(ours.take(frame.PingFrame(opaque_data=b"12345678", flags=["ACK"]).serialize()))
    assert ours.output() == b""


def test_padding_priorities_and_headers_in_pieces_are_understood():
    ours, block = greeted(), hpack.Encoder().encode([*OK, ("long", "x" * 5000)])
    first = frame.HeadersFrame(STREAM, block[:10], flags=["PADDED", "PRIORITY"], pad_length=7, depends_on=0)
    rest = [frame.ContinuationFrame(STREAM, block[10:2000]), frame.ContinuationFrame(STREAM, block[2000:])]
    rest[-1].flags.add("END_HEADERS")
    data = frame.DataFrame(STREAM, b"message", flags=["PADDED", "END_STREAM"], pad_length=200)
    said = b"".join(one.serialize() for one in [first, *rest, data])
    headers, body, end = ours.take(said)
    assert headers["long"] == "x" * 5000
    assert (body, end) == (b"message", "ended the stream")


def test_frames_of_unknown_kinds_are_passed_over():
    unknown = raw(0x99, 0xFF, b"what")
    assert list(greeted().take(unknown + frame.DataFrame(STREAM, b"x").serialize())) == [b"x"]


def raw(kind, flags, body, stream=STREAM):
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (raw(0, 0, bytes(16_385)), "16385 bytes"),
        (raw(0, 8, b"\x05abc"), "more padding than frame"),
        (raw(0, 8, b""), "can't be read"),
        (raw(1, 4, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "can't be read"),
        (raw(1, 0, b"") + raw(0, 0, b"x"), "headers that are not ended"),
        (raw(9, 4, b""), "headers that nobody began"),
        (raw(1, 0, bytes(16_000)) + 5 * raw(9, 0, bytes(16_000)), "too many headers"),
        (raw(8, 0, b"\0\0\1"), "can't be read"),
        (raw(8, 0, b"\x7f\xff\xff\xff"), "a window that is too wide"),
        (raw(4, 0, b"\0\1\0", 0), "can't be read"),
        (raw(5, 0, bytes(8)), "a push that was not allowed"),
        (raw(3, 0, b""), "can't be read"),
    ],
)
def test_what_breaks_the_protocol_is_refused(said, why):
    with pytest.raises(Http2Error, match=why):
        list(greeted().take(said))


def test_whoever_does_not_begin_with_settings_is_no_such_server():
    with pytest.raises(Http2Error, match="a frame of kind 0"):
        list(Http2Stream(REQUEST).take(raw(0, 0, b"x")))


def test_more_headers_than_a_frame_are_said_at_once():
    with pytest.raises(Http2Error, match="bytes of headers are too many"):
        Http2Stream([*REQUEST, ("token", "".join(chr(33 + i * 7 % 90) for i in range(40_000)))])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_it_ends_in_an_error_of_its_own_or_in_none(data):
    good = (
        raw(1, 4, hpack.Encoder().encode(OK)) + raw(0, 0, b"message") + raw(8, 0, b"\0\0\1\0") + raw(6, 0, bytes(8), 0)
    )
    said = bytearray(good if data.draw(st.booleans()) else data.draw(st.binary(max_size=200)))
    for _ in range(data.draw(st.integers(0, 4))):
        said[data.draw(st.integers(0, len(said) - 1)) if said else 0 : 0] = data.draw(st.binary(max_size=3))
    ours = greeted()
    try:
        for event in ours.take(bytes(said)):
            assert isinstance(event, bytes | dict | str)
        ours.output()
    except Http2Error:
        pass

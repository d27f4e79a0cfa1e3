"""A policy in a Triton server, for one robot: one gRPC stream, on which hops go and chunks come.

    with TritonPolicyClient("127.0.0.1:8001", robot) as client:
        Bridge(robot, source, client).run(seconds=20)

A server that is not there, or dies, or is slow, never stops the robot's loop: within the deadline `send_hop` gives a
reply that is not ready (see `remote_session`), and the stream is opened again, less and less often, at most every
`_LONGEST_WAIT_S`.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.hop_check import check_hop
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import NoSession, read_error, read_reply, request_tensors
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.remote_session import RemoteSession
from ganglion.robot_bridge.triton_message import from_message, to_message

_MODEL = "policy"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_END_S = 1.0
_TOKEN_HEADER = "triton-grpc-protocol-authorization"


@dataclass(frozen=True)
class ServerAddress:
    """A Triton server.

    url          host:port of its gRPC
    certificate  PEM of what signed its certificate; None: not encrypted
    token        what it wants to be shown
    """

    url: str
    certificate: Path | None = None
    token: str | None = None

    def channel(self) -> grpc.Channel:
        """A channel to it; it connects when it is used.

        Raises:
            InputError: the certificate can't be read.
        """
        most = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if self.certificate is None:
            return grpc.insecure_channel(self.url, most)
        try:
            trusted = grpc.ssl_channel_credentials(self.certificate.read_bytes())
        except OSError as error:
            raise InputError(f"can't be read ({error.strerror})", where=self.certificate, remedy="name it") from None
        return grpc.secure_channel(self.url, trusted, most)

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What goes with each stream."""
        return [(_TOKEN_HEADER, self.token)] if self.token else []


class TritonPolicyClient:
    """A `core.messages.PolicyClient`.

    `send_hop` belongs to one thread; frames and the instruction may come from others.

    Args:
        address: the server, or its host:port.
        robot: what the policy was exported for.
        deadline_ms: how long `send_hop` waits for a reply; half a hop at 50 Hz leaves time to act.
        most_waiting: hops without a reply yet, beyond which none is sent until the server has caught up; it then begins
            anew from the window.
    """

    def __init__(
        self, address: ServerAddress | str, robot: RobotSpec, *, deadline_ms: float = 10.0, most_waiting: int = 8
    ) -> None:
        self._address = ServerAddress(address) if isinstance(address, str) else address
        self._robot, self._session = robot, RemoteSession(robot)
        self._deadline_s, self._most_waiting = deadline_ms / 1e3, most_waiting
        self._sequence = secrets.randbits(62) + 1
        self._stream: _Stream | None = None
        self._wait_s, self._not_before_s = _FIRST_WAIT_S, 0.0
        self._closed = False
        self.problem: GanglionError | None = None  # why the last hop had no reply of the server's

    def set_instruction(self, instruction: str) -> None:
        """Name the goal in words; it goes with the next hop."""
        self._session.set_instruction(instruction)

    def send_frame(self, frame: Frame) -> None:
        """Hand over a frame and return at once; it goes with the next hop, or the newest of its camera does."""
        self._session.send_frame(frame)

    def send_hop(self, hop: Hop) -> Reply | None:
        """Hand over samples and get the chunk; None while fewer than one whole hop is buffered.

        Raises:
            InputError: samples or state have another shape or type than the spec says; nothing was sent.
        """
        if self._closed:
            raise GanglionError("is closed", where="policy client", remedy="open a new one")
        check_hop(hop, self._robot)
        stream = self._connected()
        if stream is None:
            self._session.keep(hop)
            return self._session.unanswered(hop, "unreachable")
        if stream.waiting >= self._most_waiting:
            self._session.keep(hop)
            self._session.lost()
            return self._session.unanswered(hop, "late")
        started = time.perf_counter()
        messages = self._session.messages(hop)
        for message in messages:
            stream.send(
                to_message(_MODEL, request_tensors(message.request), sequence=self._sequence, start=message.start)
            )
        try:
            found = stream.receive(self._deadline_s)
            answer = None if found is None else read_reply(found)
        except GanglionError as error:
            return self._session.unanswered(hop, self._failed(stream, error))
        if found is None:
            return self._session.unanswered(hop, "late")
        self.problem, self._wait_s = None, _FIRST_WAIT_S
        reply = self._session.answered(answer)
        if reply is not None:
            reply.timings_ms["round_trip"] = 1e3 * (time.perf_counter() - started)
        return reply

    def close(self) -> None:
        """End the session on the server and the stream. Harmless when called twice."""
        self._closed = True
        if self._stream:
            if last := self._session.end():
                tensors = request_tensors(last)
                self._stream.send(to_message(_MODEL, tensors, sequence=self._sequence, start=False, end=True))
            self._stream.close()
            self._stream = None

    def __enter__(self) -> TritonPolicyClient:
        """Give the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _connected(self) -> _Stream | None:
        now = time.monotonic()
        if self._stream and self._stream.error:
            self._failed(self._stream, self._stream.error)
        if self._stream is None and now >= self._not_before_s:
            self._not_before_s, self._wait_s = now + self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
            self._stream = _Stream(self._address)
        return self._stream

    def _failed(self, stream: _Stream, error: GanglionError) -> str:
        """Note what went wrong and how to go on; the flag that says so."""
        self.problem = error
        if isinstance(error, InputError):
            return "refused"  # this message alone: the session is as it was
        flag = "unreachable" if stream.error else "refused"
        self._session.lost()
        if not isinstance(error, NoSession):
            stream.close()
            self._stream = None
        return flag


class _Stream:
    """Messages out in order, answers back in the same order."""

    def __init__(self, address: ServerAddress) -> None:
        self._channel = address.channel()
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._sent, self._seen = 0, 0
        self.error: GanglionError | None = None
        self._where = f"policy server {address.url}"
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._call = stub.ModelStreamInfer(iter(self._out.get, None), metadata=address.metadata)
        self._thread = threading.Thread(target=self._read, name="policy-replies", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Messages without an answer yet."""
        return self._sent - self._seen - self._in.qsize()

    def send(self, message: Any) -> None:
        self._sent += 1
        self._out.put(message)

    def receive(self, within_s: float) -> dict[str, Any] | None:
        """The outputs that answer the last message sent; None if they did not come in time.

        Raises:
            GanglionError: the stream is broken, or what the server says went wrong.
        """
        end_s = time.monotonic() + within_s
        failed: GanglionError | None = None
        while self._seen < self._sent:
            try:
                number, answer = self._in.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(answer, GanglionError):
                raise answer
            self._seen = number
            if answer.error_message:
                failed = failed or read_error(answer.error_message)
        if failed:
            raise failed
        return from_message(answer.infer_response)

    def close(self) -> None:
        self._out.put(None)  # no more requests; the server answers those it has and ends the call
        self._thread.join(_END_S)
        self._call.cancel()
        self._channel.close()

    def _read(self) -> None:
        number = 0
        try:
            for answer in self._call:
                number += 1
                self._in.put((number, answer))
            self.error = GanglionError("ended the stream", where=self._where)
        except grpc.RpcError as error:
            said = error.details() if isinstance(error, grpc.Call) else str(error)
            self.error = GanglionError(f"{said:.200}", where=self._where, remedy="see whether it runs")
        self._in.put((number, self.error))

"""A policy in a Triton server, for one robot: one gRPC stream, on which hops go and chunks come.

    with TritonPolicyClient("127.0.0.1:8001", robot) as client:
        Bridge(robot, source, client).run(seconds=20)

A server that is not there, or dies, or is slow, never stops the robot's loop: within the deadline `send_hop` gives a
reply that is not ready (see `remote_session`), and the stream is opened again, less and less often, at most every
`_LONGEST_WAIT_S`.
"""

from __future__ import annotations

import secrets
import time
from types import TracebackType
from typing import Any

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.hop_check import check_hop
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import NoSession, PolicyRequest, read_error, read_reply, request_tensors
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.grpc_stream import GrpcStream
from ganglion.robot_bridge.remote_session import RemoteSession
from ganglion.robot_bridge.server_address import Connecting, ServerAddress
from ganglion.robot_bridge.triton_message import from_message, to_bytes

_MODEL, _METHOD = "policy", "/inference.GRPCInferenceService/ModelStreamInfer"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_END_S = 1.0
_TOKEN_HEADER = "triton-grpc-protocol-authorization"


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
        self._connecting: Connecting | None = None
        self._stream: GrpcStream | None = None
        self._waiting = 0  # messages without an answer yet
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
        started = time.monotonic()
        until_s = started + self._deadline_s
        try:
            stream = self._connected(until_s)
            if stream and self._waiting >= self._most_waiting:
                self._receive(stream, started)
        except GanglionError as error:
            self._session.keep(hop)
            return self._session.unanswered(hop, self._failed(error))
        if stream is None or self._waiting >= self._most_waiting:
            self._session.keep(hop)
            self._session.lost()
            return self._session.unanswered(hop, "late" if stream else "unreachable")
        try:
            for message in self._session.messages(hop):
                self._send(stream, message.request, start=message.start)
            found = self._receive(stream, until_s)
            answer = None if found is None else read_reply(found)
        except GanglionError as error:
            return self._session.unanswered(hop, self._failed(error))
        if found is None:
            return self._session.unanswered(hop, "late")
        self.problem, self._wait_s = None, _FIRST_WAIT_S
        reply = self._session.answered(answer)
        if reply is not None:
            reply.timings_ms["round_trip"] = 1e3 * (time.monotonic() - started)
        return reply

    def close(self) -> None:
        """End the session on the server and the stream. Harmless when called twice."""
        self._closed = True
        if self._stream and (last := self._session.end()):
            self._send(self._stream, last, end=True)
        self._disconnect(_END_S)

    def __enter__(self) -> TritonPolicyClient:
        """Give the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _connected(self, until_s: float) -> GrpcStream | None:
        """The stream; None while there is none.

        Raises:
            GanglionError: it broke, or can't be opened.
        """
        if self._stream and self._stream.error:
            raise self._stream.error
        now = time.monotonic()
        if self._stream is None and self._connecting is None and now >= self._not_before_s:
            self._not_before_s, self._wait_s = now + self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
            self._connecting = Connecting(self._address)
        if self._connecting and (made := self._connecting.wait(until_s - now)):
            self._connecting, self._waiting = None, 0
            self._stream = GrpcStream(made, self._address.url, _METHOD, self._metadata)
        return self._stream

    def _send(self, stream: GrpcStream, request: PolicyRequest, start: bool = False, end: bool = False) -> None:
        stream.send(to_bytes(_MODEL, request_tensors(request), sequence=self._sequence, start=start, end=end))
        self._waiting += 1

    def _receive(self, stream: GrpcStream, until_s: float) -> dict[str, Any] | None:
        """The outputs that answer the last message sent; None if they did not come in time.

        Raises:
            GanglionError: the stream is broken, or what the server says went wrong, with any message since the last.
        """
        answer, failed = None, None
        while self._waiting and (raw := stream.receive(until_s)) is not None:
            self._waiting -= 1
            answer = _read(raw)
            if answer.error_message:
                failed = failed or read_error(answer.error_message)
        if failed is None and self._waiting:
            failed = stream.error
        if failed:
            raise failed
        return from_message(answer.infer_response) if answer and not self._waiting else None

    def _failed(self, error: GanglionError) -> str:
        """Note what went wrong and how to go on; the flag that says so."""
        self.problem = error
        if isinstance(error, InputError):
            return "refused"  # this message alone: the session is as it was
        flag = "unreachable" if self._stream is None or self._stream.error else "refused"
        self._session.lost()
        if not isinstance(error, NoSession):
            self._disconnect(0.0)
        return flag

    def _disconnect(self, within_s: float) -> None:
        if self._connecting:
            self._connecting.give_up()
        if self._stream:
            self._stream.close(within_s)
        self._connecting = self._stream = None

    @property
    def _metadata(self) -> list[tuple[str, str]]:
        return [(_TOKEN_HEADER, self._address.token)] if self._address.token else []


def _read(raw: bytes) -> Any:
    try:
        return pb.ModelStreamInferResponse.FromString(raw)
    except DecodeError:
        raise GanglionError("sent what is no answer", where="policy server", remedy="match versions") from None

"""A policy in a Triton server, for one robot: one gRPC stream, on which hops go and chunks come.

with TritonPolicyClient("127.0.0.1:8001", robot) as client:
    Bridge(robot, source, client).run(seconds=20)
"""

from __future__ import annotations

import secrets

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from ganglion.core.errors import GanglionError
from ganglion.core.policy_wire import PolicyRequest, Tensors, read_error, request_tensors
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.grpc_stream import GrpcStream
from ganglion.robot_bridge.remote_client import RemoteClient
from ganglion.robot_bridge.server_address import Connecting, ServerAddress
from ganglion.robot_bridge.triton_message import from_message, to_bytes

_MODEL, _METHOD = "policy", "/inference.GRPCInferenceService/ModelStreamInfer"
_TOKEN_HEADER = "triton-grpc-protocol-authorization"


class TritonPolicyClient(RemoteClient):
    """A `core.messages.PolicyClient`; see `RemoteClient`.

    Args:
        address: the server, or its host:port.
        robot: what the policy was exported for.
        deadline_ms: how long `send_hop` waits for a reply; half a hop at 50 Hz leaves time to act.
        most_waiting: hops without a reply yet, beyond which none is sent until the server has caught up.
    """

    def __init__(
        self, address: ServerAddress | str, robot: RobotSpec, *, deadline_ms: float = 10.0, most_waiting: int = 8
    ) -> None:
        super().__init__(robot, deadline_ms=deadline_ms, most_waiting=most_waiting)
        self._address = ServerAddress(address) if isinstance(address, str) else address
        self._sequence = secrets.randbits(62) + 1

    def _begin(self) -> _Opening:
        return _Opening(self._address, self._sequence)


class _Opening:
    """See remote_client.Opening."""

    def __init__(self, address: ServerAddress, sequence: int) -> None:
        self._address, self._sequence = address, sequence
        self._connecting = Connecting(address)

    def wait(self, within_s: float) -> TritonLine | None:
        """See remote_client.Opening."""
        made = self._connecting.wait(within_s)
        metadata = [(_TOKEN_HEADER, self._address.token)] if self._address.token else []
        return TritonLine(GrpcStream(made, self._address.url, _METHOD, metadata), self._sequence) if made else None

    def give_up(self) -> None:
        """See remote_client.Opening."""
        self._connecting.give_up()


class TritonLine:
    """See remote_client.Line: a sequence of Triton's on a stream."""

    def __init__(self, stream: GrpcStream, sequence: int) -> None:
        self._stream, self._sequence = stream, sequence

    @property
    def error(self) -> GanglionError | None:
        """Why there will be no more answers."""
        return self._stream.error

    def send(self, request: PolicyRequest, start: bool, end: bool) -> None:
        """See remote_client.Line."""
        self._stream.send(to_bytes(_MODEL, request_tensors(request), sequence=self._sequence, start=start, end=end))

    def receive(self, until_s: float) -> Tensors | GanglionError | None:
        """See remote_client.Line."""
        raw = self._stream.receive(until_s)
        if raw is None:
            return None
        try:
            answer = pb.ModelStreamInferResponse.FromString(raw)
        except DecodeError:
            raise GanglionError("sent what is no answer", where="policy server", remedy="match versions") from None
        if answer.error_message:
            return read_error(answer.error_message)
        return from_message(answer.infer_response)

    def close(self, within_s: float) -> None:
        """See remote_client.Line."""
        self._stream.close(within_s)

"""Wrong messages to a policy server, each from a seed and a number: what is sent, and over which of its doors."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from tritonclient.grpc import service_pb2 as pb

from ganglion.core.messages import Frame, Hop
from ganglion.core.policy_wire import PolicyRequest, request_tensors
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.triton_message import to_message

GIGABYTE = 1 << 30
_ODD_INTS = (-(2**63), -1, 0, 1, 2**31, 2**62, 2**63 - 14, 2**63 - 1)
_TYPES = ("FP16", "FP32", "FP64", "INT8", "INT64", "UINT64", "BYTES", "BOOL", "BF16", "", "fp16", "NONSENSE", "FP16\0")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True)
class Wrong:
    """One message.

    kind   what is wrong with it
    door   "stream" and "unary": a ModelInferRequest's bytes; "call": a whole method; "http2" and "rest": bytes on a
           socket
    body   what is sent
    method of a "call"
    id     sequence that it may have begun
    """

    kind: str
    door: str
    body: bytes
    method: str = ""
    id: int = 0


class Fuzzer:
    """Messages by number.

    Args:
        robot: what the server's policy was made for.
        seed: of all of them.
        victims: sequences of other robots, if they are known; a real attacker would have to guess 62 bits.
    """

    def __init__(self, robot: RobotSpec, seed: int, victims: tuple[int, ...] = ()) -> None:
        self._robot, self._seed, self._victims = robot, seed, victims
        sensor = robot.sensors[0]
        self._samples = np.random.default_rng(seed).standard_normal((sensor.hop_samples, sensor.channels))
        self._picture = _picture(robot)
        self._kinds: tuple[Callable[[random.Random, int], Wrong], ...] = (
            self._dtype, self._shape, self._length, self._values, self._inputs, self._huge, self._frame, self._text,
            self._sequence, self._controls, self._parameters, self._bytes, self._graph, self._operate, self._http2,
            self._rest,
        )  # fmt: skip

    def message(self, number: int) -> Wrong:
        """The one of that number."""
        dice = random.Random(self._seed * 1_000_003 + number)
        return self._kinds[number % len(self._kinds)](dice, number)

    def good(self, first: int = 0, **changed: Any) -> PolicyRequest:
        """A request that nothing is wrong with."""
        hop = Hop(first, 20_000_000, self._samples.astype(np.float16))
        return PolicyRequest(hop, token=b"fuzz", **changed)

    def infer(self, tensors: dict[str, npt.NDArray[Any]], number: int) -> Any:
        """Those tensors as a message that begins a session and ends it."""
        return to_message("policy", tensors, sequence=_own(number), start=True, end=True)

    def _base(self, number: int, frames: bool = False) -> Any:
        seen = tuple(Frame(camera.name, 0, self._picture) for camera in self._robot.cameras) if frames else ()
        return self.infer(request_tensors(self.good(frames=seen, instruction="Touch.")), number)

    def _sent(self, kind: str, dice: random.Random, message: Any, number: int) -> Wrong:
        door = "unary" if dice.random() < 0.3 else "stream"
        return Wrong(kind, door, message.SerializeToString(), id=_own(number))

    def _dtype(self, dice: random.Random, number: int) -> Wrong:
        message = self._base(number, frames=True)
        dice.choice(message.inputs).datatype = dice.choice(_TYPES)
        return self._sent("dtype", dice, message, number)

    def _shape(self, dice: random.Random, number: int) -> Wrong:
        message = self._base(number, frames=True)
        tensor = dice.choice(message.inputs)
        shape = [dice.choice((-1, 0, 1, 2, 7, 13, 1026, 2**31, 2**40, 2**62)) for _ in range(dice.randrange(6))]
        del tensor.shape[:]
        tensor.shape.extend(shape)
        return self._sent("shape", dice, message, number)

    def _length(self, dice: random.Random, number: int) -> Wrong:
        """Contents that are shorter or longer than shape or length prefix claim, up to a gigabyte."""
        message = self._base(number, frames=True)
        place = dice.randrange(len(message.inputs))
        raw = message.raw_input_contents[place]
        way = dice.randrange(5)
        if way == 0:
            message.raw_input_contents[place] = raw[: dice.randrange(len(raw))]
        elif way == 1:
            message.raw_input_contents[place] = raw + bytes(dice.randrange(1, 100))
        elif way == 2:
            message.raw_input_contents[place] = struct.pack("<I", dice.choice((GIGABYTE, 2**32 - 1))) + raw[4:]
        elif way == 3:
            del message.inputs[place].shape[:]
            message.inputs[place].shape.extend([GIGABYTE // 2052, 1026])
        else:
            del message.raw_input_contents[place:]
        return self._sent("length", dice, message, number)

    def _values(self, dice: random.Random, number: int) -> Wrong:
        samples = self._samples.astype(dice.choice((np.float16, np.float32)))
        for _ in range(dice.randrange(1, 40)):
            samples[dice.randrange(len(samples)), dice.randrange(samples.shape[1])] = dice.choice(
                (np.nan, np.inf, -np.inf, 6e4, -6e4)
            )
        request = PolicyRequest(Hop(0, 0, samples), token=b"fuzz")
        return self._sent("values", dice, self.infer(request_tensors(request), number), number)

    def _inputs(self, dice: random.Random, number: int) -> Wrong:
        tensors = request_tensors(self.good())
        way = dice.randrange(5)
        if way == 0:
            tensors[dice.choice(("unknown", "", "START", "CORRID", "x" * 5000))] = np.zeros(1, np.float32)
        elif way == 1:
            del tensors[dice.choice([*tensors])]
        elif way == 2:
            tensors["samples_fp32"] = self._samples.astype(np.float32)
        elif way == 3:
            tensors["state"] = np.zeros(dice.randrange(9), np.float32)
        message = self.infer(tensors, number)
        if way == 4:
            message.inputs.append(message.inputs[0])
            message.raw_input_contents.append(message.raw_input_contents[0])
        return self._sent("inputs", dice, message, number)

    def _huge(self, dice: random.Random, number: int) -> Wrong:
        """An instruction of up to a megabyte, more tokens than a prompt may have; a frame comes with it."""
        words = dice.choice(("word ", "<|image_pad|>", "ä", "\0", "{{ x }}")) * dice.choice((300, 5_000, 200_000))
        seen = tuple(Frame(camera.name, 0, self._picture) for camera in self._robot.cameras)
        request = self.good(frames=seen, instruction=words[:1_000_000])
        return self._sent("huge", dice, self.infer(request_tensors(request), number), number)

    def _frame(self, dice: random.Random, number: int) -> Wrong:
        name = self._robot.cameras[0].name if self._robot.cameras else "scene"
        jpeg = dice.choice((self._bomb, self._cut, self._flipped, self._other))(dice)
        frames = tuple(Frame(name, dice.choice(_ODD_INTS), jpeg) for _ in range(dice.choice((1, 1, 1, 2, 40))))
        message = self.infer(request_tensors(self.good(frames=frames)), number)
        return self._sent("frame", dice, message, number)

    def _bomb(self, dice: random.Random) -> bytes:
        """A small picture whose header claims 60,000 x 60,000 pixels."""
        at = self._picture.index(b"\xff\xc0") + 5
        side = struct.pack(">H", dice.choice((60_000, 65_535, 0, 1, 113)))
        return self._picture[:at] + side + side + self._picture[at + 4 :]

    def _cut(self, dice: random.Random) -> bytes:
        return self._picture[: dice.randrange(len(self._picture))]

    def _flipped(self, dice: random.Random) -> bytes:
        return _flip(dice, self._picture, dice.choice((1, 5, 20)), first=dice.choice((80, 700, len(self._picture))))

    def _other(self, dice: random.Random) -> bytes:
        """A picture of another kind, of the camera's size where it has one."""
        camera, out = self._robot.cameras[0], io.BytesIO()
        kind = dice.choice(("PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "EPS"))
        Image.new("RGB", (camera.width, camera.height)).save(out, kind)
        return _flip(dice, out.getvalue(), dice.choice((0, 3)))

    def _text(self, dice: random.Random, number: int) -> Wrong:
        """Bytes that are no UTF-8 where names and words belong."""
        bad = dice.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"", b"\0", b"scene\xff"))
        tensors = request_tensors(self.good(frames=(Frame("scene", 0, self._picture),), instruction="go"))
        name = dice.choice(("instruction", "token", "frame_cameras"))
        tensors[name] = np.array([bad, None], object)[:1]
        return self._sent("text", dice, self.infer(tensors, number), number)

    def _sequence(self, dice: random.Random, number: int) -> Wrong:
        """Sequence numbers that are replayed, run backwards or are beyond all bounds; and stamps of that kind."""
        tensors = request_tensors(self.good(dice.choice(_ODD_INTS)))
        tensors["clock"] = np.array([dice.choice(_ODD_INTS), dice.choice(_ODD_INTS)], np.int64)
        if dice.random() < 0.3:
            tensors["prime"] = np.array([True])
        # Few ids, so that one session gets several of them.
        message = to_message("policy", tensors, sequence=5 + number % 3, start=dice.random() < 0.4)
        return self._sent("sequence", dice, message, number)

    def _controls(self, dice: random.Random, number: int) -> Wrong:
        """START and END in wrong places, and other robots' ids, with no token or a wrong one."""
        tensors = request_tensors(self.good())
        if dice.random() < 0.5:
            tensors.pop("token")
        ids = (*self._victims, 0, 1, 2**63 - 1, dice.getrandbits(62), _own(number))
        message = to_message(
            "policy", tensors, sequence=dice.choice(ids), start=dice.random() < 0.5, end=dice.random() < 0.5
        )
        if not message.parameters["sequence_id"].int64_param and dice.random() < 0.5:
            message.parameters["sequence_id"].string_param = dice.choice(("", "robot", "x" * 10_000))
        return self._sent("controls", dice, message, number)

    def _parameters(self, dice: random.Random, number: int) -> Wrong:
        message = self._base(number)
        way = dice.randrange(7)
        if way == 0:
            message.model_name = dice.choice(("", "nothing", "../policy", "policy\0", "vl_encoder", "x" * 5000))
        elif way == 1:
            message.model_version = dice.choice(("0", "99", "-1", "latest", "1.5"))
        elif way == 2:
            message.outputs.add(name=dice.choice(("chunk", "nothing", "")))
            message.outputs[0].parameters["classification"].int64_param = dice.choice(_ODD_INTS)
        elif way == 3:
            message.parameters["timeout"].int64_param = dice.choice(_ODD_INTS)
            message.parameters["priority"].int64_param = dice.choice(_ODD_INTS)
        elif way == 4:
            tensor = dice.choice(message.inputs)
            tensor.parameters["shared_memory_region"].string_param = dice.choice(("nothing", "/dev/shm", "ganglion"))
            tensor.parameters["shared_memory_byte_size"].int64_param = dice.choice((GIGABYTE, *_ODD_INTS))
        elif way == 5:
            message.parameters["sequence_start"].int64_param = 3
        else:
            for key in range(200):
                message.parameters[f"made_up_{key}"].double_param = float("nan")
        return self._sent("parameters", dice, message, number)

    def _bytes(self, dice: random.Random, number: int) -> Wrong:
        """No protobuf, or some with bits turned."""
        raw = self._base(number).SerializeToString()
        if dice.random() < 0.3:
            raw = dice.randbytes(dice.choice((0, 1, 10, 5000)))
        else:
            raw = _flip(dice, raw, dice.choice((1, 5, 50)), first=dice.choice((60, len(raw))))
        return Wrong("bytes", dice.choice(("stream", "unary")), raw, id=_own(number))

    def _graph(self, dice: random.Random, number: int) -> Wrong:
        """The cameras' graph, asked past the policy."""
        ints = np.array([[[1, *(dice.choice((-1, 0, 1, 8, 2**31, 2**40)) for _ in range(2))]]])
        rows, tokens = dice.choice((0, 1, 64)), dice.choice((0, 1, 25, 3000))
        tensors = {
            "pixel_values": np.zeros((1, rows, dice.choice((1176, 7))), np.float32),
            "image_grid_thw": ints,
            "input_ids": np.full((1, tokens), dice.choice((0, -1, 5, 2**40))),
            "position_ids": np.zeros((1, 3, dice.choice((tokens, 2))), np.int64),
        }
        return self._sent("graph", dice, to_message("vl_encoder", tensors, sequence=0, start=False), number)

    def _operate(self, dice: random.Random, number: int) -> Wrong:
        """What only an operator may."""
        calls = (
            ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="policy")),
            ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="policy")),
            ("SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=4096)),
            ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest()),
            ("TraceSetting", pb.TraceSettingRequest(settings={"trace_level": {"value": ["TIMESTAMPS"]}})),
            ("LogSettings", pb.LogSettingsRequest(settings={"log_verbose_level": {"uint32_param": 9}})),
            ("NoSuchMethod", pb.ServerLiveRequest()),
        )
        method, request = dice.choice(calls)
        return Wrong("operate", "call", request.SerializeToString(), method)

    def _http2(self, dice: random.Random, number: int) -> Wrong:
        """Bytes on the gRPC port that are no HTTP/2, or begin as if they were."""
        settings = b"\0\0\0\4\0\0\0\0\0"
        ways = (
            dice.randbytes(dice.choice((1, 24, 3000))),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00" + dice.randbytes(512),
            _PREFACE[: dice.randrange(len(_PREFACE))],
            _PREFACE + dice.randbytes(500),
            _PREFACE + settings + b"\xff\xff\xff" + bytes([dice.randrange(12)]) + dice.randbytes(60),
            _PREFACE + settings * 200,
        )
        return Wrong("http2", "http2", dice.choice(ways))

    def _rest(self, dice: random.Random, number: int) -> Wrong:
        body: Any = {
            "parameters": {"sequence_id": _own(number), "sequence_start": True, "sequence_end": True},
            "inputs": [
                {"name": "samples_fp32", "shape": [1, 1026], "datatype": "FP32", "data": [0.0] * 1026},
                {"name": "clock", "shape": [2], "datatype": "INT64", "data": [0, 0]},
            ],
        }
        if dice.random() < 0.5:
            tensor = dice.choice(body["inputs"])
            tensor[dice.choice(("name", "shape", "datatype", "data"))] = dice.choice(
                (None, [], {}, "x", -1, 2**70, [[-1]], [2**62], ["a"], 1e400)
            )
        text = json.dumps(body).encode()
        if dice.random() < 0.3:
            text = dice.choice((b"[" * 100_000, b"{", b"null", _flip(dice, text, 5), b"\xff\xfe", b""))
        path = dice.choice(("/v2/models/policy/infer", "/v2/models/policy/infer", "/v2/models/nothing/infer", "/v2/x"))
        claim = dice.choice((len(text), len(text), len(text), GIGABYTE, -1, 0))
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {claim}\r\n"
        if dice.random() < 0.4:
            head += f"Inference-Header-Content-Length: {dice.choice((0, 5, -1, 2**40, 'x', len(text) + 1))}\r\n"
        if dice.random() < 0.1:
            head += "Content-Encoding: gzip\r\n"
        return Wrong("rest", "rest", head.encode() + b"Connection: close\r\n\r\n" + text)


def _own(number: int) -> int:
    """A sequence that no other message has, and no robot."""
    return 1_000_000 + number


def _flip(dice: random.Random, raw: bytes, times: int, first: int | None = None) -> bytes:
    changed = bytearray(raw)
    for _ in range(times if raw else 0):
        changed[dice.randrange(min(len(changed), first or len(changed)))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _picture(robot: RobotSpec) -> bytes:
    width, height = (robot.cameras[0].width, robot.cameras[0].height) if robot.cameras else (112, 112)
    out = io.BytesIO()
    notes = Image.Exif()
    notes[ExifTags.Base.Orientation] = 1
    Image.effect_noise((width, height), 60).convert("RGB").save(out, "JPEG", exif=notes)
    return out.getvalue()

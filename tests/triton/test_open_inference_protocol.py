"""The Open Inference Protocol (KServe v2): what is sent to Triton and what it answers, held to the files of it.

REST against its OpenAPI description, gRPC against its .proto, which is read here: no generated code is trusted.
"""

import json
import re
import sys
from pathlib import Path

import grpc
import jsonschema
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from policy_bundle_for_test import policy_bundle
from triton_for_test import VENV

from ganglion.core.messages import Frame, Hop
from ganglion.core.policy_wire import PolicyRequest, read_reply, request_tensors
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.triton_message import from_message, to_message

pytestmark = pytest.mark.triton

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
SERVICE = "/inference.GRPCInferenceService/"
ROBOT = default_robot()
FIELD = descriptor_pb2.FieldDescriptorProto
TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|\"[^\"]*\"|[\w.]+|[{}();=<>,]", re.DOTALL)


@pytest.fixture
def protocol(shared_data):
    folder = shared_data / "open_inference_protocol/specification/protocol"
    if not folder.is_dir():
        pytest.skip("no open_inference_protocol in ../shared/data")
    return folder


@pytest.fixture
def rest(protocol):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((protocol / "open_inference_rest.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def proto(protocol):
    """proto(name): the class of a message, as the protocol has it."""
    return message_classes((protocol / "open_inference_grpc.proto").read_text(encoding="utf-8"))


def message_classes(text):
    """The messages of a .proto as classes by name; nested ones by their path."""
    words = [word for word in TOKEN.findall(text) if not word.startswith(("//", "/*"))]
    file = descriptor_pb2.FileDescriptorProto(name="protocol.proto", package="inference", syntax="proto3")
    at, depth = 0, 0
    while at < len(words):
        if words[at] == "message" and not depth:
            at = read_message(words, at + 1, file.message_type.add())
            continue
        depth += {"{": 1, "}": -1}.get(words[at], 0)
        at += 1
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))


def read_message(words, at, message):
    """Read from behind "message" on; returns the place behind its end."""
    message.name, at, choice = words[at], at + 2, None
    while words[at] != "}" or choice is not None:
        if words[at] == "}":
            choice, at = None, at + 1
        elif words[at] == "message":
            at = read_message(words, at + 1, message.nested_type.add())
        elif words[at] == "oneof":
            choice, at = len(message.oneof_decl), at + 3
            message.oneof_decl.add(name=words[at - 2])
        elif words[at] == "map":
            _, _, key, _, value, _, name, _, number, _ = words[at : at + 10]
            entry = message.nested_type.add(name="".join(p.title() for p in name.split("_")) + "Entry")
            entry.options.map_entry = True
            add_field(entry, "key", 1, key)
            add_field(entry, "value", 2, value)
            add_field(message, name, int(number), entry.name, repeated=True)
            at += 10
        else:
            repeated = words[at] == "repeated"
            kind, name, _, number, _ = words[at + repeated : at + repeated + 5]
            add_field(message, name, int(number), kind, repeated, choice)
            at += repeated + 5
    return at + 1


def add_field(message, name, number, kind, repeated=False, choice=None):
    field = message.field.add(name=name, number=number, label=FIELD.LABEL_REPEATED if repeated else 1)
    basic = f"TYPE_{kind.upper()}"
    if basic in set(FIELD.Type.keys()):
        field.type = FIELD.Type.Value(basic)
    else:
        field.type_name = kind
    if choice is not None:
        field.oneof_index = choice


def as_protocol(kind, raw):
    """The message that the protocol's own definition makes of it, which must leave nothing over."""
    found = kind.FromString(raw)
    known = kind.FromString(raw)
    known.DiscardUnknownFields()
    assert known.ByteSize() == len(raw), f"{kind.DESCRIPTOR.name} holds fields that the protocol has not"
    return found


def test_the_reader_of_proto_files_knows_their_forms():
    """Against protobuf's own reader of the wire: JSON in, bytes, JSON out, of every form that the protocol uses."""
    text = """
    // a comment { with brackets }
    message A { message B { repeated int64 shape = 3; } string name = 1; map<string, B> parts = 4; repeated bytes x = 5;
      oneof one { bool yes = 6; uint64 no = 7; } }
    """
    made = message_classes(text)("A")
    given = {"name": "n", "parts": {"k": {"shape": ["1", "2"]}}, "x": ["AAE="], "no": "9"}
    sent = json_format.ParseDict(given, made())
    assert json_format.MessageToDict(made.FromString(sent.SerializeToString())) == given
    assert made(name="n").SerializeToString() == b"\x0a\x01n"
    with pytest.raises(AssertionError, match="fields that the protocol has not"):
        as_protocol(message_classes("message A { string other = 2; }")("A"), b"\x0a\x01n")


def test_what_robots_send_is_the_protocols_infer_request(proto):
    hop = Hop(0, 0, np.zeros((13, 1026), np.float16), np.zeros(3, np.float32))
    tensors = request_tensors(PolicyRequest(hop, True, (Frame("scene", 5, b"jpeg"),), "go", b"token"))
    message = to_message("policy", tensors, sequence=7, start=True)
    found = as_protocol(proto("ModelInferRequest"), message.SerializeToString())
    assert found.model_name == "policy"
    assert [one.name for one in found.inputs] == [*tensors]
    assert [list(one.shape) for one in found.inputs] == [[*value.shape] for value in tensors.values()]
    assert found.parameters["sequence_id"].int64_param == 7
    assert len(found.raw_input_contents) == len(tensors)


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    if not VENV.is_dir():
        pytest.skip(f"no Triton server in {VENV}: make test-triton")
    from policy_server import PolicyServer

    folder = tmp_path_factory.mktemp("served")
    bundle = policy_bundle(folder, ROBOT)
    with PolicyServer(bundle.root, folder, "--tritonserver", str(VENV)) as server:
        yield server


def test_what_a_served_policy_answers_over_grpc_is_the_protocols(serve, proto):
    with grpc.insecure_channel(serve.address) as channel:

        def call(method, request=b""):
            return as_protocol(proto(f"{method}Response"), channel.unary_unary(SERVICE + method)(request, timeout=60))

        model = proto("ModelReadyRequest")(name="policy").SerializeToString()
        assert call("ServerLive").live
        assert call("ServerReady").ready
        assert call("ModelReady", model).ready
        assert call("ServerMetadata").name == "triton"
        described = call("ModelMetadata", model)
        assert {"samples_fp16", "clock"} <= {one.name for one in described.inputs}
        tensors = request_tensors(PolicyRequest(Hop(0, 0, np.zeros((13, 1026), np.float16))))
        message = to_message("policy", tensors, sequence=7, start=True, end=True).SerializeToString()
        answer = call("ModelInfer", message)
        assert {one.name for one in answer.outputs} <= {one.name for one in described.outputs}
        assert read_reply(from_message(answer)).last_seq == 12
        with pytest.raises(grpc.RpcError) as refused:
            call("ModelInfer", proto("ModelInferRequest")(model_name="policy").SerializeToString())
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def schema_of(rest, path, method, status):
    """Of the body that this status has, None where it has none; the reference is resolved by the validator."""
    described = rest["paths"][path][method]["responses"][status]
    if "content" not in described:
        return None
    schema = described["content"]["application/json"]["schema"]
    return jsonschema.Draft202012Validator({**schema, "components": rest["components"]})


REQUEST = {
    "id": "42",
    "inputs": [
        {"name": "input_ids", "shape": [1, 3], "datatype": "INT64", "data": [1, 2, 3]},
        {"name": "image_features", "shape": [0, 128], "datatype": "FP32", "data": []},
    ],
}


def test_what_triton_answers_over_rest_is_the_protocols(server, rest):
    """Every path of the description. Triton has server metadata at /v2, where the description says /v2/."""
    bodies = {"post": json.dumps(REQUEST)}
    for path, item in rest["paths"].items():
        (method,) = {*item} - {"parameters"}
        place = path.replace("${MODEL_NAME}", "embed").replace("${MODEL_VERSION}", "1").removesuffix("/")
        status, body, _ = server.request(method.upper(), place, bodies.get(method))
        assert status == 200, (path, body)
        if schema := schema_of(rest, path, method, "200"):
            schema.validate(json.loads(body))
            assert not schema.is_valid({}), "the description does say something"


OWN = pytest.mark.xfail(reason="Triton 2.51 itself answers a body without inputs with 500", strict=True)


@pytest.mark.parametrize(
    "inputs",
    [pytest.param(None, marks=OWN), [], REQUEST["inputs"][:1], [{**REQUEST["inputs"][0], "datatype": "FP32"}]],
    ids=["none", "an empty list", "one missing", "another type"],
)
def test_what_triton_refuses_over_rest_is_in_the_protocols_form(server, rest, inputs):
    path = "/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}/infer"
    broken = json.dumps({} if inputs is None else {"inputs": inputs})
    status, body, _ = server.request("POST", "/v2/models/embed/versions/1/infer", broken)
    schema_of(rest, path, "post", "400").validate(json.loads(body))
    assert status == 400, body


def test_a_policy_is_not_asked_over_http_but_health_and_metadata_are(serve, rest):
    import http.client

    def asked(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", serve.http_port, timeout=60)
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    assert asked("GET", "/v2/health/live")[0] == asked("GET", "/v2/health/ready")[0] == 200
    status, body = asked("GET", "/v2/models/policy/versions/1")
    assert status == 200
    path = "/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}"
    schema_of(rest, path, "get", "200").validate(json.loads(body))
    # The very request that ends Triton 2.51: a shape whose bytes are no 64-bit number.
    tensor = {"name": "clock", "shape": [2**62], "datatype": "INT64", "data": [0, 0]}
    status, body = asked("POST", "/v2/models/policy/infer", json.dumps({"inputs": [tensor]}))
    assert status == 403
    assert "restricted" in body.decode()
    assert asked("GET", "/v2/health/ready")[0] == 200


@pytest.mark.parametrize(
    "method", ["RepositoryModelUnload", "SystemSharedMemoryStatus", "LogSettings", "TraceSetting", "ModelConfig"]
)
def test_what_only_an_operator_may_is_closed(serve, method):
    from tritonclient.grpc import service_pb2 as pb

    request = pb.RepositoryModelUnloadRequest(model_name="policy") if method.endswith("Unload") else None
    with grpc.insecure_channel(serve.address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(SERVICE + method)(request.SerializeToString() if request else b"", timeout=60)
    assert "restricted" in refused.value.details()

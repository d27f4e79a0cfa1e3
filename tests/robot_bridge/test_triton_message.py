"""Tensors as KServe v2 messages, against the library's own client and server side."""

import numpy as np
import pytest
from tritonclient.grpc import InferInput, InferResult, service_pb2

from ganglion.core.errors import InputError
from ganglion.robot_bridge.triton_message import from_message, to_message


def of(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


TENSORS = {
    "samples": np.random.default_rng(0).standard_normal((13, 5)).astype(np.float16),
    "clock": np.array([2**62, -1]),
    "ready": np.array([True]),
    "age": np.array([np.nan], np.float32),
    "frames": of(b"", b"\x00\xff jpeg", b"x" * 300),
    "flags": of(),
}
NAMES = {"samples": "FP16", "clock": "INT64", "ready": "BOOL", "age": "FP32", "frames": "BYTES", "flags": "BYTES"}


def test_a_request_is_what_the_librarys_client_would_send():
    message = to_message("policy", TENSORS, sequence=77, start=True)
    assert message.model_name == "policy"
    assert message.parameters["sequence_id"].int64_param == 77
    assert message.parameters["sequence_start"].bool_param
    assert not message.parameters["sequence_end"].bool_param
    for sent, raw, (name, value) in zip(message.inputs, message.raw_input_contents, TENSORS.items(), strict=True):
        theirs = InferInput(name, list(value.shape), NAMES[name])
        theirs.set_data_from_numpy(value)
        assert (sent.name, sent.datatype, list(sent.shape)) == (name, NAMES[name], list(value.shape))
        assert raw == (theirs._get_content() or b"")


def answer():
    asked = to_message("policy", TENSORS, sequence=1, start=False)
    outputs = [
        service_pb2.ModelInferResponse.InferOutputTensor(name=one.name, datatype=one.datatype, shape=one.shape)
        for one in asked.inputs
    ]
    return service_pb2.ModelInferResponse(outputs=outputs, raw_output_contents=asked.raw_input_contents)


def test_an_answer_is_what_the_librarys_client_reads():
    found, theirs = from_message(answer()), InferResult(answer())
    assert found.keys() == TENSORS.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, TENSORS[name])
        np.testing.assert_array_equal(value, theirs.as_numpy(name))


@pytest.mark.parametrize("index", range(len(TENSORS) - 1))
def test_an_answer_that_contradicts_itself_is_refused(index):
    broken = answer()
    broken.raw_output_contents[index] = broken.raw_output_contents[index][:-1]
    with pytest.raises(InputError, match="can't be read"):
        from_message(broken)

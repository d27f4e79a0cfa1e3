"""The robot's client against a gRPC server of our own that is slow, full, broken or gone: the robot's loop goes on."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.messages import Frame, Hop, Reply
from ganglion.core.policy_wire import ServerFull, error_text, read_request, reply_tensors
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.triton_client import TritonPolicyClient
from ganglion.robot_bridge.triton_message import from_message, to_message

ROBOT = default_robot()
SENSOR = ROBOT.sensors[0]
HOP, WAIT_S, PATIENT_MS = SENSOR.hop_samples, 30, 30_000


class Served(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers each message as `answer` says: a reply, None, an error, tensors as they are, or an event to wait for."""

    def __init__(self):
        self.asked = queue.Queue()
        self.answer = lambda request, start: Reply(np.ones((8, 7), np.float32), request.hop.first_seq, 0, True, None)
        self.port = 0
        self.start()

    def start(self):
        self.server = grpc.server(ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()

    def stop(self):
        self.server.stop(0).wait(WAIT_S)

    def ModelStreamInfer(self, messages, context):
        for message in messages:
            request = read_request(from_message_of_request(message))
            start = message.parameters["sequence_start"].bool_param
            end = message.parameters["sequence_end"].bool_param
            self.asked.put((request, start, end, message.parameters["sequence_id"].int64_param))
            yield self.said(self.answer(request, start) if not request.prime and len(request.hop.samples) else None)

    def said(self, answer):
        while isinstance(answer, tuple):
            gate, answer = answer
            assert gate.wait(WAIT_S)
        if isinstance(answer, GanglionError):
            return service_pb2.ModelStreamInferResponse(error_message=error_text(answer))
        tensors = answer if isinstance(answer, dict) else reply_tensors(answer, 7)
        made = to_message("policy", tensors, sequence=1, start=False)
        outputs = [
            service_pb2.ModelInferResponse.InferOutputTensor(name=one.name, datatype=one.datatype, shape=one.shape)
            for one in made.inputs
        ]
        reply = service_pb2.ModelInferResponse(outputs=outputs, raw_output_contents=made.raw_input_contents)
        return service_pb2.ModelStreamInferResponse(infer_response=reply)


def from_message_of_request(message):
    reply = service_pb2.ModelInferResponse(raw_output_contents=message.raw_input_contents)
    for one in message.inputs:
        reply.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
    return from_message(reply)


@pytest.fixture
def served():
    served = Served()
    yield served
    served.stop()


def client(served, **options):
    return TritonPolicyClient(f"127.0.0.1:{served.port}", ROBOT, **{"deadline_ms": PATIENT_MS, **options})


def hop(index):
    return Hop(index * HOP, index, np.full((HOP, SENSOR.channels), index, np.float16))


def until(robot, index, wanted):
    """Hops, one after the other, until a reply has that flag or none; the next index and the reply."""
    for number in range(index, index + 10_000):
        reply = robot.send_hop(hop(number))
        if (wanted in reply.flags) if wanted else not {"late", "unreachable", "refused"} & {*reply.flags}:
            return number + 1, reply
        threading.Event().wait(0.005)
    raise AssertionError(reply)


def test_hops_go_out_in_order_on_one_sequence_and_the_end_is_said(served):
    with client(served) as robot:
        for index in range(3):
            reply = robot.send_hop(hop(index))
            assert reply.last_seq == index * HOP
            assert reply.timings_ms["round_trip"] > 0
            assert robot.problem is None
    asked = [served.asked.get(timeout=WAIT_S) for _ in range(4)]
    assert [start for _, start, _, _ in asked] == [True, False, False, False]
    assert [end for _, _, end, _ in asked] == [False, False, False, True]
    assert [request.hop.first_seq for request, *_ in asked] == [0, HOP, 2 * HOP, 3 * HOP]
    assert len({number for *_, number in asked}) == 1
    assert len({request.token for request, *_ in asked}) == 1


def test_a_reply_that_does_not_come_in_time_is_late_and_the_next_one_is_not(served):
    gate = threading.Event()
    good = served.answer
    with client(served, deadline_ms=100) as robot:
        until(robot, 0, None)
        served.answer = lambda request, start: (gate, good(request, start))
        index, reply = until(robot, 100, "late")
        assert not reply.ready
        assert not reply.chunk.any()
        served.answer = good
        gate.set()
        _, reply = until(robot, index, None)
        assert reply.ready
        assert "gap" not in reply.flags


def test_a_server_that_is_stuck_gets_no_more_than_a_few_hops_and_is_begun_anew(served):
    gate, good = threading.Event(), served.answer
    served.answer = lambda request, start: (gate, good(request, start))
    with client(served, deadline_ms=1, most_waiting=3) as robot:
        for index in range(60):
            assert "late" in robot.send_hop(hop(index)).flags
        assert served.asked.qsize() <= 3
        gate.set()
        served.answer = good
        robot._deadline_s = WAIT_S
        _, reply = until(robot, 60, None)
        assert "gap" in reply.flags
        windows = [one[0].hop for one in [served.asked.get() for _ in range(served.asked.qsize())] if one[0].prime]
        assert len(windows[-1].samples) == SENSOR.window_samples


def test_a_server_that_is_full_says_so_and_is_asked_again(served):
    good, full = served.answer, ServerFull("serves 1 robots already", where="policy server")
    served.answer = lambda request, start: full
    with client(served) as robot:
        reply = robot.send_hop(hop(0))
        assert reply.flags == ("refused",)
        assert isinstance(robot.problem, ServerFull)
        served.answer = good
        _, reply = until(robot, 1, None)
        assert reply.ready
        assert robot.problem is None


def test_a_message_that_is_refused_leaves_the_session(served):
    good = served.answer
    with client(served) as robot:
        robot.send_hop(hop(0))
        served.answer = lambda request, start: InputError("no such camera")
        assert robot.send_hop(hop(1)).flags == ("refused",)
        served.answer = good
        assert robot.send_hop(hop(2)).flags == ()
    starts = [served.asked.get(timeout=WAIT_S)[1] for _ in range(4)]
    assert starts == [True, False, False, False]


@pytest.mark.parametrize("broken", [{"chunk": np.zeros((8, 7), np.float32)}, {"report": np.zeros(2, np.uint8)}])
def test_a_reply_that_is_none_does_not_end_the_loop(served, broken):
    good = served.answer
    with client(served) as robot:
        served.answer = lambda request, start: broken
        assert robot.send_hop(hop(0)).flags == ("refused",)
        assert "is no reply" in str(robot.problem)
        served.answer = good
        assert robot.send_hop(hop(1)).ready


def test_a_server_that_goes_and_comes_is_begun_anew_from_the_window(served):
    with client(served, deadline_ms=5000) as robot:
        for index in range(60):
            robot.send_hop(hop(index))
        served.stop()
        index, reply = until(robot, 60, "unreachable")
        assert not reply.ready
        assert "policy server 127.0.0.1" in str(robot.problem)
        while not served.asked.empty():
            served.asked.get()
        served.start()
        _, reply = until(robot, index, None)
        assert "gap" in reply.flags
        window, start, _, _ = served.asked.get(timeout=WAIT_S)
        assert window.prime and start
        assert len(window.hop.samples) == SENSOR.window_samples


def test_a_server_that_was_never_there_costs_no_time_and_no_thread(served):
    served.stop()
    before = threading.active_count()
    with client(served, deadline_ms=50) as robot:
        _, reply = until(robot, 0, "unreachable")
        assert not reply.ready
    assert threading.active_count() <= before + 1


def test_frames_and_the_goal_travel_with_the_next_hop(served):
    with client(served) as robot:
        robot.set_instruction("left")
        robot.send_frame(Frame("scene", 7, b"jpeg"))
        robot.send_hop(hop(0))
        robot.send_hop(hop(1))
    (first, *_), (second, *_) = served.asked.get(timeout=WAIT_S), served.asked.get(timeout=WAIT_S)
    assert (first.instruction, first.frames) == ("left", (Frame("scene", 7, b"jpeg"),))
    assert (second.instruction, second.frames) == (None, ())


def test_what_does_not_fit_the_robot_is_never_sent(served):
    with client(served) as robot:
        with pytest.raises(InputError, match="sensor tip: samples are"):
            robot.send_hop(Hop(0, 0, np.zeros((HOP, 3), np.float16)))
        assert robot.send_hop(hop(0)).ready
    with pytest.raises(GanglionError, match="policy client: is closed"):
        robot.send_hop(hop(1))

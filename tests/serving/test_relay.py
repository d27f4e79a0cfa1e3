"""What comes to Triton over HTTP has been looked at; what it answers comes back as it is written."""

import http.client
import json
import socket
import threading
from contextlib import closing

import pytest

from ganglion.core.errors import InputError
from ganglion.serving.binding import free_port
from ganglion.serving.triton.relay import Relay

KEY, MOST, WAIT_S = ("the-key", "secret"), 16384, 20
PATH = "/v2/models/vlm/generate"


class Triton:
    """Notes what it is asked and answers it in two pieces, the second when it is told to."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.asked, self.gone, self.go_on = [], threading.Event(), threading.Event()
        self.go_on.set()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection, connection.makefile("rb") as file:
            first = file.readline().decode().split()
            headers = {}
            while line := file.readline().strip().decode():
                name, _, value = line.partition(": ")
                headers[name] = value
            self.asked.append((first[0], first[1], headers, file.read(int(headers["content-length"]))))
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst ")
            if not self.go_on.wait(0.1):
                assert connection.recv(1) == b""
                self.gone.set()
                return
            connection.sendall(b"second")


@pytest.fixture
def triton():
    triton = Triton()
    yield triton
    triton.listening.close()


@pytest.fixture
def port(triton):
    port = free_port()
    with Relay(port, triton.port, KEY, MOST):
        yield port


def ask(port, method="POST", body=b"{}", headers=None, path=PATH):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    with closing(connection):
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()


def raw(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_request_goes_on_with_the_key_and_its_answer_comes_back(port, triton):
    body = json.dumps({"text_input": "go", "inputs": [{"name": "x", "shape": [2, 3], "data": [1]}]}).encode()
    headers = {"content-type": "application/json", "the-key": "mine", "x-other": "1", "connection": "keep-alive"}
    assert ask(port, body=body, headers=headers) == (200, "first second")
    ((method, path, sent, received),) = triton.asked
    assert (method, path, received) == ("POST", PATH, body)
    assert sent == {
        "content-type": "application/json", "host": "127.0.0.1", "connection": "close",
        "content-length": str(len(body)), "the-key": "secret",
    }  # fmt: skip
    assert ask(port, "GET", None, path="/v2/health/ready") == (200, "first second")
    assert triton.asked[-1][:2] == ("GET", "/v2/health/ready")


def test_binary_tensors_follow_on_json_of_a_length(port, triton):
    body = b'{"inputs": []}' + b"\xff\x00["
    assert ask(port, body=body, headers={"Inference-Header-Content-Length": "14"})[0] == 200
    assert triton.asked[0][2]["inference-header-content-length"] == "14"
    assert triton.asked[0][3] == body
    for wrong in ("19", "-1", "x", "1e1", ""):
        status, said = ask(port, body=body, headers={"Inference-Header-Content-Length": wrong})
        assert (status, "inference-header-content-length is" in said) == (400, True)


def tensors(*shapes):
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": shape} for shape in shapes]}).encode()


DEADLY = {
    "nested": (b"[" * 2000, "nested too deep"),
    "nested in an object": (b'{"a":' * 2000 + b"1" + b"}" * 2000, "nested too deep"),
    "a shape": (tensors([2**62]), "a tensor's shape is [4611686018427387904]; give at most"),
    "a second shape": (tensors([1], [2**20, 2**20]), "a tensor's shape is [1048576, 1048576]"),
    "a shape of nothing": (tensors([0, 2**62]), "a tensor's shape is [0, 46"),
    "a negative shape": (tensors([-1]), "a tensor's shape is [-1]"),
    "a shape in words": (tensors("2"), "a tensor's shape is"),
    "a shape of a fraction": (tensors([1.5]), "a tensor's shape is [1.5]"),
    "a shape that is hidden": (b'{"inputs":[{"shape":[1],"shape":[4611686018427387904]}]}', "names something twice"),
    "inputs that are hidden": (b'{"inputs":[{"shape":[4611686018427387904]}],"inputs":[]}', "names something twice"),
    "another encoding": ('{"inputs":[]}'.encode("utf-16"), "is not UTF-8"),
    "no json": (b"{", "is no JSON"),
    "no number": (b'{"a": NaN}', "is no JSON"),
}


@pytest.mark.parametrize(("body", "says"), DEADLY.values(), ids=DEADLY)
def test_what_triton_would_die_of_does_not_reach_it(port, triton, body, says):
    status, said = ask(port, body=body)
    assert status == 400
    assert says in json.loads(said)["error"]
    assert not triton.asked
    assert ask(port) == (200, "first second")


LINE = f"POST {PATH} HTTP/1.1\r\n".encode()
BROKEN = {
    "too long": (LINE + b"content-length: 20000\r\n\r\n", b" 413 ", b"more than 16384 bytes"),
    "endlessly long": (LINE + b"content-length: 99999999999999999999\r\n\r\n", b" 400 ", b"content-length is"),
    "of less than nothing": (LINE + b"content-length: -1\r\n\r\n", b" 400 ", b"content-length is"),
    "of no length": (LINE + b"\r\n", b" 411 ", b"say content-length"),
    "in chunks": (LINE + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", b" 411 ", b"say content-length"),
    "compressed": (LINE + b"content-encoding: gzip\r\ncontent-length: 1\r\n\r\nx", b" 400 ", b"content-encoding"),
    "of two lengths": (LINE + b"content-length: 1\r\nContent-Length: 2\r\n\r\nx", b" 400 ", b"a header twice"),
    "with a folded header": (LINE + b"a: b\r\n c: d\r\n\r\n", b" 400 ", b"a header that is none"),
    "with a bare line feed": (LINE + b"a: b\nthe-key: x\r\n\r\n", b" 400 ", b"a header that is none"),
    "with endless headers": (LINE + b"a: b\r\n" * 20_000, b" 400 ", b"head has more than 65536 bytes"),
    "with many headers": (LINE + b"".join(b"a%d: b\r\n" % n for n in range(101)) + b"\r\n", b" 400 ", b"HTTP/1.1"),
    "of another protocol": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b" 400 ", b"is no HTTP/1.1"),
    "of no path": (b"GET http://other/ HTTP/1.1\r\n\r\n", b" 400 ", b"is no HTTP/1.1"),
}


@pytest.mark.parametrize(("data", "status", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_request_is_refused_in_a_line(port, triton, data, status, says):
    said = raw(port, data)
    assert said.startswith(b"HTTP/1.1" + status)
    assert says in said
    assert not triton.asked


def test_a_client_that_waits_to_be_told_is_told_to_go_on(port):
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(LINE + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert b"first" in connection.recv(4096)


def test_pieces_come_as_they_are_written_and_who_leaves_leaves_triton_too(port, triton):
    triton.go_on.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(LINE + b"content-length: 2\r\n\r\n{}")
        assert b"first" in connection.recv(4096)
        assert not triton.gone.is_set()
    assert triton.gone.wait(WAIT_S)


def test_without_triton_it_says_so_and_a_port_that_is_taken_is_named(triton):
    port = free_port()
    with Relay(port, free_port(), KEY, MOST):
        assert ask(port) == (502, '{"error": "Triton can\'t be reached"}')
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: can't listen there .* choose another --port"):
            Relay(port, triton.port, KEY, MOST)


def test_it_ends_amid_an_answer(triton):
    triton.go_on.clear()
    port = free_port()
    with Relay(port, triton.port, KEY, MOST):
        left = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        left.sendall(LINE + b"content-length: 2\r\n\r\n{}")
        assert b"first" in left.recv(4096)
    with left:
        assert left.recv(4096) == b""
    assert triton.gone.wait(WAIT_S)

"""One gRPC call on a socket: against a real gRPC server, and against servers that are not what they should be."""

import queue
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import h2.config
import h2.connection
import pytest

from ganglion.core.errors import GanglionError, InputError
from ganglion.robot_bridge.grpc_stream import GrpcStream
from ganglion.robot_bridge.server_address import Connecting, ServerAddress

WAIT_S, PATH = 30.0, "/test.Echo/Talk"


def soon():
    return time.monotonic() + WAIT_S


class Echo(grpc.GenericRpcHandler):
    """Gives each message back; b"no" is a refusal; notes what it saw."""

    def __init__(self):
        self.seen, self.metadata = queue.Queue(), None

    def service(self, call):
        assert call.method == PATH
        self.metadata = dict(call.invocation_metadata)
        return grpc.stream_stream_rpc_method_handler(self.talk)

    def talk(self, messages, context):
        for message in messages:
            self.seen.put(message)
            if message == b"no":
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you: 100 % nö")
            yield message
        self.seen.put(None)


@pytest.fixture
def server():
    made = []

    def start(credentials=None, **options):
        echo, server = Echo(), grpc.server(ThreadPoolExecutor(4), options=[*options.items()])
        server.add_generic_rpc_handlers([echo])
        port = (
            server.add_secure_port("127.0.0.1:0", credentials)
            if credentials
            else server.add_insecure_port("127.0.0.1:0")
        )
        server.start()
        made.append(server)
        return echo, f"127.0.0.1:{port}"

    yield start
    for one in made:
        one.stop(0).wait(WAIT_S)


def open_stream(url, certificate=None, metadata=()):
    return GrpcStream(ServerAddress(url, certificate).connect(), url, PATH, metadata)


def test_messages_go_and_come_in_order_and_the_end_is_said(server):
    echo, url = server()
    stream = open_stream(url, metadata=[("who", "robot 7")])
    for count in range(5):
        stream.send(b"%d" % count)
    assert [stream.receive(soon()) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert echo.metadata["who"] == "robot 7"
    stream.close(WAIT_S)
    assert [echo.seen.get(timeout=WAIT_S) for _ in range(6)][-1] is None


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_379, 65_535, 3_000_000])
def test_a_message_of_any_size_passes_through_the_windows_of_both_sides(server, size):
    _, url = server()
    stream, message = open_stream(url), bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for _ in range(2):
        stream.send(message)
        assert stream.receive(soon()) == message
    stream.close(WAIT_S)


def test_nothing_in_time_is_none_and_the_call_goes_on(server):
    _, url = server()
    stream = open_stream(url)
    assert stream.receive(time.monotonic() + 0.02) is None
    assert stream.error is None
    stream.send(b"late")
    assert stream.receive(soon()) == b"late"
    stream.close(WAIT_S)


def test_what_the_server_says_is_the_error(server):
    _, url = server()
    stream = open_stream(url)
    stream.send(b"first")
    stream.send(b"no")
    assert stream.receive(soon()) == b"first"
    assert stream.receive(soon()) is None
    assert str(stream.error) == f"policy server {url}: not for you: 100 % nö; see whether it runs"


def test_a_server_that_ends_is_noticed(server):
    _, url = server()
    stream = open_stream(url)
    stream.send(b"hello")
    assert stream.receive(soon()) == b"hello"
    stream.close(0.0)
    assert stream.receive(soon()) is None
    assert stream.error is not None


def certificate(folder):
    key, made = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=robot",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, made


def test_encrypted_it_is_the_same_and_only_to_whom_it_trusts(server, tmp_path):
    key, trusted = certificate(tmp_path)
    _, url = server(grpc.ssl_server_credentials([(key.read_bytes(), trusted.read_bytes())]))
    stream, message = open_stream(url, trusted), b"secret" * 50_000
    stream.send(message)
    assert stream.receive(soon()) == message
    stream.close(WAIT_S)
    (tmp_path / "other").mkdir()
    _, other = certificate(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        ServerAddress(url, other).connect()


class Raw:
    """A server that says what it is told to, byte by byte, to the first who comes."""

    def __init__(self, say):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, args=(say,))
        self.thread.start()

    def run(self, say):
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(WAIT_S)
            connection.recv(65536)
            say(connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def close(self):
        self.thread.join(WAIT_S)
        self.listener.close()


def http2(answer):
    """What to say: `answer` of a connection on which the client's call has come."""

    def say(connection):
        asked = h2.connection.H2Connection()
        asked.initiate_connection()
        asked.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x")])
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http.initiate_connection()
        http.receive_data(asked.data_to_send())
        answer(http)
        connection.sendall(http.data_to_send())

    return say


def answers(headers, data=b"", end=None):
    def answer(http):
        http.send_headers(1, headers)
        for byte in data:
            http.send_data(1, bytes([byte]))
        if end:
            http.send_headers(1, end, end_stream=True)

    return http2(answer)


OK = [(":status", "200"), ("content-type", "application/grpc")]


@pytest.mark.parametrize(
    ("say", "said"),
    [
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "speaks HTTP/1, not gRPC"),
        (lambda connection: connection.sendall(b"\0\0\1\4\0\0\0\0\0\0"), "does not speak HTTP/2"),
        (lambda connection: None, "closed the connection"),
        (answers([(":status", "503")]), "answers with HTTP status 503"),
        (answers([*OK, ("grpc-status", "8"), ("grpc-message", "full%21")]), "full!"),
        (answers(OK, end=[("grpc-status", "14")]), "ended the stream with status 14"),
        (answers(OK, end=[("grpc-status", "0")]), "ended the stream"),
        (answers(OK, data=b"\x01\0\0\0\x01x"), "sent a compressed message"),
        (answers(OK, data=b"\x00\xff\xff\xff\xff"), "sent a message of 4294967295 bytes"),
        (http2(lambda http: http.close_connection()), "ended the connection"),
    ],
)
def test_a_server_that_is_none_is_an_error_in_a_line(say, said):
    raw = Raw(say)
    stream = open_stream(raw.url)
    stream.send(b"hello")
    assert stream.receive(soon()) is None
    assert said in str(stream.error)
    assert "\n" not in str(stream.error)
    stream.send(b"more")  # harmless
    stream.close(0.0)
    raw.close()


def test_messages_are_put_together_from_any_pieces():
    messages = [b"a" * 300, b"", b"b"]
    raw = Raw(answers(OK, b"".join(len(one).to_bytes(5, "big") + one for one in messages)))
    stream = open_stream(raw.url)
    assert [stream.receive(soon()) for _ in messages] == messages
    stream.close(0.0)
    raw.close()


def test_a_server_that_takes_nothing_does_not_hold_up_the_sender(server):
    gate = threading.Event()
    raw = Raw(lambda connection: gate.wait(WAIT_S))
    stream = open_stream(raw.url)
    for _ in range(100):
        stream.send(bytes(1_000_000))
        assert stream.receive(time.monotonic()) is None
    assert stream.error is None
    gate.set()
    stream.close(0.0)
    raw.close()


@pytest.mark.parametrize("url", ["", "host", "host:", "host:port", "host:99999", "http://host:1", "a b:1/x"])
def test_what_is_no_address_is_named(url):
    with pytest.raises(InputError, match="is no address"):
        ServerAddress(url)


def test_a_certificate_is_read_at_once(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.pem: can't be read"):
        ServerAddress("host:1", tmp_path / "nowhere.pem")
    (tmp_path / "a.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"a\.pem: holds no certificate"):
        ServerAddress("host:1", tmp_path / "a.pem")


def test_a_connection_is_made_beside_and_closed_if_nobody_wants_it(server):
    _, url = server()
    made = Connecting(ServerAddress(url)).wait(WAIT_S)
    made.close()
    unwanted = Connecting(ServerAddress(url))
    unwanted.give_up()
    assert unwanted.wait(WAIT_S).fileno() == -1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(GanglionError, match=f"policy server {nobody}: .*refused; see whether it runs"):
            Connecting(ServerAddress(nobody)).wait(WAIT_S)

"""10,000 wrong messages to a served policy, while robots use it: who is hurt by them?

    python benchmarks/fuzz.py [--messages 10000] [--seed 0] [--bundle my/bundle]
    python benchmarks/fuzz.py --vlm [--messages 2000]          # the OpenAI-compatible server instead: fuzz_vlm.py

Messages are made by fuzz_messages.py and come over gRPC, over bare sockets to its port, and over HTTP. Three robots at
their own pace (50 Hz) are there all the while; what they were answered is held to a session in this process
(checked_robot.py), and times from hop to chunk with and without wrong messages are of the same run, in turns. Verdicts:

    alive      the server's processes are the same at the end, and its models are ready
    answered   each message got an error or a valid reply, or its connection was ended, within --bound seconds
    words      no error was one that the server had not foreseen ("internal: ...")
    others     no robot was answered otherwise than a session here, none lost its session
    memory     of the server, largest after the first tenth of the messages, within 5 % of what it was then

Writes runs/benchmarks/fuzz.json (--out); exit status 1 where a verdict does not hold.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from checked_robot import Stream, Verdict, check, flags_of, read_records
from fuzz_messages import Fuzzer, Wrong
from policy_server import PolicyServer, add_server_options, server_options
from random_policy import random_bundle
from report import machine, make_parser, write_report
from serving import environment
from tqdm import tqdm
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from ganglion.core.bundle import Bundle, open_bundle
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.policy_wire import read_reply
from ganglion.robot_bridge.triton_message import from_message
from ganglion.serving.policy.engine import PolicyEngine

HERE = Path(__file__).parent
SERVICE = "/inference.GRPCInferenceService/"
ROBOTS = 3
HOLD_AFTER_MS = 5_000.0
MOST_GROWTH = 0.05
_SLOTS = 256  # for the robots, and for what wrong messages begin and do not end


def main() -> int:
    parser = make_parser(__doc__, "fuzz")
    parser.add_argument("--bundle", type=Path, help="with a policy and its Triton models; default: random weights")
    parser.add_argument("--messages", type=int, help="wrong ones (default 10000, of a VLM 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bound", type=float, default=10.0, help="seconds until each must have been answered")
    parser.add_argument("--vlm", action="store_true", help="fuzz the OpenAI-compatible server of an untrained VLM")
    add_server_options(parser)
    options = parser.parse_args()
    options.messages = options.messages or (2_000 if options.vlm else 10_000)
    if options.messages < 20 or not options.bound > 0:
        parser.error("--messages must be 20 or more, --bound above 0")
    hardware = machine("onnxruntime", "tritonclient")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            if options.vlm:
                from fuzz_vlm import fuzz_vlm

                found = fuzz_vlm(folder, options.bundle, options.messages, options.seed, options.bound)
            else:
                bundle = open_bundle(options.bundle or random_bundle(folder, size="tiny"))
                found = fuzz(bundle, folder, options)
        except GanglionError as error:
            parser.error(str(error))
    for kind, count in sorted(found["answers"].items()):
        print(f"{kind:<12} " + "  ".join(f"{name} {times}" for name, times in sorted(count.items())))
    for name, (kept, said) in found["verdicts"].items():
        print(f"{name:<9} {'kept  ' if kept else 'BROKEN'}  {said}")
    passed = all(kept for kept, _ in found["verdicts"].values())
    found["verdicts"] = {name: {"kept": kept, "said": said} for name, (kept, said) in found["verdicts"].items()}
    write_report(options.out, {"hardware": hardware, "seed": options.seed, **found, "passed": passed})
    return 0 if passed else 1


def fuzz(bundle: Bundle, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Serve, let robots live, and send wrong messages in every second tenth of the time."""
    records = folder / "records"
    records.mkdir()
    assert bundle.robot is not None
    serving = ["--slots", str(_SLOTS), "--idle_s", "2", "--hold_after_ms", str(HOLD_AFTER_MS)]
    with PolicyServer(bundle.root, folder, *serving, *server_options(options)) as server:
        before = {*server.pids}
        robots = start_robots(server, bundle, records)
        try:
            time.sleep(5.0)
            sent = send_all(server, Fuzzer(bundle.robot, options.seed), options)
        finally:
            robots.terminate()
            robots.wait()
        same, ready = {*server.pids} == before, models_ready(server)
        status = server.stop()
    found = judge_robots(bundle, records, sent["phases"])
    verdict: Verdict = found.pop("verdict")
    memory = sent["memory_mb"]
    growth = max(memory[1:]) / memory[0] - 1 if memory[1:] else 0.0
    slow = [f"{kind} {seconds:.1f} s" for kind, seconds in sent["slow"]]
    verdicts = {
        "alive": (same and ready and status == 0, f"same processes {same}, models ready {ready}, status {status}"),
        "answered": (not slow, f"slowest {sent['slowest_s']:.2f} s {slow[:5] or ''}"),
        "words": (not sent["internal"], f"{len(sent['internal'])} not foreseen {sent['internal'][:3] or ''}"),
        "others": (
            not verdict.counts["wrong"] and not found["lost"] and verdict.counts["compared"] > 0,
            f"{verdict.counts['compared']} chunks compared, largest difference {verdict.largest:.1e}, "
            f"{verdict.counts['wrong']} wrong, {found['lost']} sessions lost {verdict.examples or ''}",
        ),
        "memory": (growth <= MOST_GROWTH, f"{memory[0]:.1f} MB, then at most {max(memory):.1f}"),
    }
    for phase, trip in found["round_trip_ms"].items():
        print(f"robots {phase:<8} hop to chunk p50 {trip['p50']:.2f} p99 {trip['p99']:.2f} ms of {trip['hops']}")
    facts = {"round_trip_ms": found["round_trip_ms"], "memory_mb": memory, "internal": sent["internal"]}
    return {
        "messages": options.messages,
        "answers": sent["answers"],
        "words": sent["words"],
        **facts,
        "verdicts": verdicts,
    }


def start_robots(server: PolicyServer, bundle: Bundle, records: Path) -> subprocess.Popen[bytes]:
    """Robots at their own pace in a process of their own, until it is ended."""
    command = [sys.executable, str(HERE / "soak_robots.py"), str(bundle.root), server.address, str(records)]
    command += ["--robots", str(ROBOTS), "--seconds", "100000", "--life", "100000", "100000"]
    return subprocess.Popen(command, env=environment())


def send_all(server: PolicyServer, fuzzer: Fuzzer, options: argparse.Namespace) -> dict[str, Any]:
    """All messages, in ten shares with as long a pause after each as it took (30 s at most)."""
    answers: dict[str, Counter[str]] = {}
    words: dict[str, dict[str, str]] = {}
    slow, slowest, internal, memory, phases = list[Any](), 0.0, set[str](), list[float](), list[Any]()
    sender = Sender(server, options.bound)
    with tqdm(total=options.messages, disable=None) as bar:
        for share in np.array_split(np.arange(options.messages), 10):
            began_ns = time.monotonic_ns()
            for number in share:
                message, start = fuzzer.message(int(number)), time.perf_counter()
                answer = sender.send(message)
                seconds = time.perf_counter() - start
                slowest = max(slowest, seconds)
                if seconds > options.bound or answer == "silence":
                    slow.append((message.kind, seconds))
                if "internal: " in answer:
                    internal.add(f"{message.kind}: {answer:.200}")
                word = "internal" if "internal: " in answer else answer.split(":")[0]
                answers.setdefault(message.kind, Counter())[word] += 1
                if answer.startswith("error"):
                    words.setdefault(message.kind, {}).setdefault(answer[:40], answer[:300])
                bar.update()
            ended_ns = time.monotonic_ns()
            phases.append((began_ns, ended_ns))
            memory.append(server.memory_mb())
            time.sleep(min(30.0, (ended_ns - began_ns) / 1e9))
    sender.close()
    counts = {kind: dict(count) for kind, count in answers.items()}
    known = {"slow": slow, "slowest_s": slowest, "internal": sorted(internal)}
    said = {kind: sorted(found.values()) for kind, found in words.items()}
    return {"answers": counts, "words": said, **known, "memory_mb": memory, "phases": phases}


class Sender:
    """One client, which connects anew where it was cut off."""

    def __init__(self, server: PolicyServer, bound_s: float) -> None:
        self._server, self._bound_s = server, bound_s
        self._channel = grpc.insecure_channel(server.address, [("grpc.max_send_message_length", -1)])

    def send(self, message: Wrong) -> str:
        """What came: "ok", "ended", or "error: ..." in the server's words; "silence" for nothing within the bound."""
        if message.door in ("http2", "rest"):
            return self._socket(message)
        try:
            if message.door == "stream":
                return self._stream(message)
            method = message.method or "ModelInfer"
            call = self._channel.unary_unary(SERVICE + method)
            raw = call(message.body, timeout=2 * self._bound_s)
            return self._reply(pb.ModelInferResponse.FromString(raw), message) if method == "ModelInfer" else "ok"
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return "silence"
            return f"error: {error.code().name} {error.details()}"

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def _stream(self, message: Wrong) -> str:
        call = self._channel.stream_stream(f"{SERVICE}ModelStreamInfer")
        found = [
            pb.ModelStreamInferResponse.FromString(one) for one in call(iter([message.body]), timeout=2 * self._bound_s)
        ]
        if len(found) != 1:
            return f"error: {len(found)} answers"
        return (
            f"error: {found[0].error_message}"
            if found[0].error_message
            else self._reply(found[0].infer_response, message)
        )

    def _reply(self, response: Any, message: Wrong) -> str:
        if message.kind == "parameters":
            return "ok"  # it may have asked for one output only
        try:
            read_reply(from_message(response))
        except InputError as error:
            return f"error: internal: no reply that can be read ({error})"
        return "ok"

    def _socket(self, message: Wrong) -> str:
        port = self._server.grpc_port if message.door == "http2" else self._server.http_port
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            try:
                connection.sendall(message.body)
                connection.shutdown(socket.SHUT_WR)  # who claimed more than that never sends it
                said = connection.recv(4096)
            except TimeoutError:
                return "ended"  # it waits for more: so does every server, until this client goes
            except OSError:
                return "ended"
        if message.door == "http2" or not said:
            return "ended"
        head, _, body = said.partition(b"\r\n\r\n")
        status = head.split()[1].decode(errors="replace")
        return "ok" if status == "200" else f"error: {status} {body.decode(errors='replace')}"


def models_ready(server: PolicyServer) -> bool:
    """All of them, as the server says."""
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return bool(stub.ServerReady(pb.ServerReadyRequest(), timeout=10).ready)


def judge_robots(bundle: Bundle, records: Path, phases: list[tuple[int, int]]) -> dict[str, Any]:
    """What the robots were answered, and how fast, while wrong messages came and while none did."""
    assert bundle.robot is not None
    verdict, lost, trips = Verdict(), 0, {"fuzzed": list[float](), "quiet": list[float]()}
    with PolicyEngine.open(bundle, hold_after_ms=HOLD_AFTER_MS) as engine:
        for path in records.glob("*.replies"):
            rows = read_records(path, bundle.robot)
            verdict.add(check(engine, Stream(bundle.robot, int(path.stem)), rows))
            lost += any({"gap", "refused", "unreachable"} & flags_of(row) for row in rows)
            for row in rows[50:]:
                fuzzed = any(began <= row["sent_ns"] <= ended for began, ended in phases)
                trips["fuzzed" if fuzzed else "quiet"].append(float(row["trip_ms"]))
    return {
        "verdict": verdict,
        "lost": lost,
        "round_trip_ms": {
            phase: {"p50": float(np.median(ms)), "p99": float(np.percentile(ms, 99)), "hops": len(ms)}
            for phase, ms in trips.items()
            if ms
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())

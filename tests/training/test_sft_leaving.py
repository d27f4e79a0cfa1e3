"""What leaves the machine when it is asked for: the loss to a tracker, the adapter to a hub; here to stand-ins."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import MagicMock

import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.slow
Runner = Callable[..., int]


def losses(out: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((out / "history.json").read_text())]


def test_tensorboard_finds_the_losses_in_the_runs_folder(sft: Runner, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert sft(tmp_path / "run", "--report_to", "tensorboard") == 0
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("train/loss")
    assert [event.step for event in found] == [1, 2, 3, 4]
    assert [event.value for event in found] == pytest.approx(losses(tmp_path / "run"), rel=1e-6)


@pytest.fixture(params=["wandb", "trackio"])
def tracker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, MagicMock]:
    """A stand-in for the tracker's package, which remembers what it is called with."""
    package = MagicMock(__version__="1.0", __spec__=MagicMock())
    package.run = None
    package.context_vars.current_space_id.get.return_value = None
    monkeypatch.setitem(sys.modules, request.param, package)
    for part in ("sdk", "sdk.lib", "sdk.lib.config_util"):
        monkeypatch.setitem(sys.modules, f"wandb.{part}", MagicMock(ConfigError=ValueError))
    return request.param, package


def test_a_tracker_gets_the_losses_under_the_runs_name(
    sft: Runner, tmp_path: Path, tracker: tuple[str, MagicMock]
) -> None:
    name, package = tracker
    package.init.side_effect = lambda **_: setattr(package, "run", MagicMock())
    assert sft(tmp_path / "walk", "--report_to", name) == 0
    given = package.init.call_args.kwargs
    assert given["project"] == "ganglion" and given["name"] == "walk"
    logged = [call.args[0] for call in package.log.call_args_list]
    assert [entry["train/loss"] for entry in logged if "train/loss" in entry] == losses(tmp_path / "walk")


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as an upload of small files needs."""

    made: dict[str, object]
    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer hf_test"
        if self.path == "/api/repos/create":
            self.made.update(json.loads(body))
            self._answer({"url": "http://127.0.0.1/me/walk"})
        elif "/preupload/" in self.path:
            names = [entry["path"] for entry in json.loads(body)["files"]]
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            self._answer({"files": [{"path": name, **kind} for name in names]})
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines[1:]:
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": "http://127.0.0.1/me/walk/commit/1", "commitOid": "1", "success": True})

    def do_GET(self) -> None:
        self._answer({"id": "me/walk", "siblings": []})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.made, Hub.files = {}, {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield Hub
    server.shutdown()
    server.server_close()


def test_a_finished_run_is_uploaded_whole(
    sft: Runner, tmp_path: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sft(tmp_path / "run", "--push_to_hub", "me/walk") == 0
    assert "uploaded to me/walk" in capsys.readouterr().out
    assert (hub.made["name"], hub.made["organization"], hub.made["visibility"]) == ("walk", "me", "private")
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "run.json"} <= set(hub.files)
    assert not [name for name in hub.files if "checkpoints" in name]
    assert all(content == (tmp_path / "run" / name).read_bytes() for name, content in hub.files.items())


def test_a_hub_that_does_not_answer_costs_nothing_but_the_upload(
    sft: Runner, tmp_path: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert sft(tmp_path / "run", "--push_to_hub", "me/walk") == 1
    said = capsys.readouterr().err
    assert "can't be uploaded to me/walk" in said and "give the same command again" in said and said.count("\n") == 1
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()

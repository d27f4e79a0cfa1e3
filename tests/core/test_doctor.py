import json

import pytest

from ganglion.core import doctor
from ganglion.core.cli import main


def test_findings_cover_what_a_robot_needs():
    names = {finding.name for finding in doctor.examine()}
    assert {"python", "packages [base]", "gpu", "shared memory", "real-time scheduling", "memory locking"} <= names
    assert any(name.startswith("onnxruntime") for name in names)
    assert any(name.startswith("disk") for name in names)


def test_whatever_is_not_ok_has_a_remedy():
    for finding in doctor.examine():
        assert finding.severity == doctor.OK or finding.remedy, finding


def test_an_absent_package_becomes_a_note_with_its_install_line(monkeypatch):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torch" else version(name))
    train = next(finding for finding in doctor.examine() if finding.name == "packages [train]")
    assert (train.severity, train.remedy) == (doctor.NOTE, "pip install 'ganglion[train]'")


def test_two_onnxruntimes_at_once_fail(monkeypatch, capsys):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name.startswith("onnxruntime") else version(name))
    assert main(["doctor", "--json"]) == 1
    failed = [f for f in json.loads(capsys.readouterr().out) if f["severity"] == "failed"]
    assert "both installed" in failed[0]["found"]


def test_a_provider_that_only_pretends_is_noticed():
    runtime = pytest.importorskip("onnxruntime", reason="needs ganglion[serve]")
    assert doctor._loads(runtime, "CPUExecutionProvider")
    assert (
        not doctor._loads(runtime, "CUDAExecutionProvider")
        or "CUDAExecutionProvider" in runtime.get_available_providers()
    )


def test_a_full_disk_folder_that_cannot_be_written_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("GANGLION_CACHE", "/proc/ganglion")
    disk = next(finding for finding in doctor.examine() if finding.name == "disk (cache)")
    assert disk.severity == doctor.FAILED
    assert "GANGLION_CACHE" in disk.remedy

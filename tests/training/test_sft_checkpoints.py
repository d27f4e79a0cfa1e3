"""Which checkpoint a run goes on from: the newest whole one."""

from pathlib import Path

import pytest

from ganglion.training.sft.checkpoints import checkpoint_path, keep_newest, newest_whole, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (2, 10, 6):
        path = checkpoint_path(tmp_path, step)
        path.mkdir()
        (path / "optimizer.pt").write_bytes(b"x" * 100 + bytes([step]))
        (path / "adapter_model.safetensors").write_bytes(b"y" * 50)
        seal(path)
    return tmp_path


def test_the_newest_is_the_one_with_the_highest_step(folder: Path) -> None:
    assert newest_whole(folder) == checkpoint_path(folder, 10)


def test_no_checkpoint_means_from_the_start(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "absent") is None


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip", "unsealed", "torn seal"])
def test_a_damaged_newest_is_passed_over(folder: Path, damage: str) -> None:
    newest = checkpoint_path(folder, 10)
    file = newest / "optimizer.pt"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "remove":
        file.unlink()
    elif damage == "flip":
        file.write_bytes(b"z" + file.read_bytes()[1:])
    elif damage == "unsealed":
        (newest / "seal.json").unlink()
    else:
        (newest / "seal.json").write_text('{"optimizer.pt": "ab')
    assert newest_whole(folder) == checkpoint_path(folder, 6)


def test_old_ones_and_half_written_leftovers_are_removed(folder: Path) -> None:
    leftover = folder / ".checkpoint-12.abc" / "checkpoint-12"
    leftover.mkdir(parents=True)
    keep_newest(folder, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "checkpoint-6"]

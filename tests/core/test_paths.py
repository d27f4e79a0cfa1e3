import errno
import os
import subprocess
import sys
import time

import pytest

from ganglion.core import paths
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.paths import cache_dir, clear_left, read_json, write_json, written_aside


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GANGLION_CACHE", raising=False)
    assert cache_dir() == tmp_path / "ganglion"
    monkeypatch.setenv("GANGLION_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_a_failure_leaves_the_old_content_and_no_rest(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), written_aside(target) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "bundle"
    for content in ("one", "two"):
        with written_aside(target) as aside:
            aside.mkdir()
            (aside / content).touch()
    assert os.listdir(target) == ["two"]
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_folder_is_there_at_every_moment_of_being_replaced(tmp_path, monkeypatch):
    path, rename, exchange = tmp_path / "folder", os.replace, paths._exchanged
    path.mkdir()

    def watched(of):
        def watching(*args):
            assert path.is_dir()
            found = of(*args)
            assert path.is_dir()
            return found

        return watching

    monkeypatch.setattr(paths.os, "replace", watched(rename))
    monkeypatch.setattr(paths, "_exchanged", watched(exchange))
    with written_aside(path) as aside:
        aside.mkdir()
        (aside / "new").touch()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_where_folders_can_not_change_places_one_is_moved_aside_first(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_exchanged", lambda one, other: False)
    path = tmp_path / "folder"
    (path / "old").mkdir(parents=True)
    with written_aside(path) as aside:
        aside.mkdir()
    assert list(path.iterdir()) == []


def test_a_full_disk_is_one_line_with_a_remedy(tmp_path):
    target = tmp_path / "a.json"
    with pytest.raises(GanglionError, match="No space left") as error, written_aside(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "free space" in str(error.value)
    assert not target.exists()


def test_an_error_that_is_not_about_writing_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError), written_aside(tmp_path / "a"):
        (tmp_path / "none").read_text()


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_what_was_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"format_version": 2, "a": [1, "b"]})
    assert read_json(tmp_path / "a.json", "write it", version=2) == {"format_version": 2, "a": [1, "b"]}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "is missing; write it"),
        (b"{", "can't be read .*; write it"),
        (b"\xff", "can't be read .*; write it"),
        (b"[1]", "holds list, not an object; write it"),
        (b"{}", "has format version None, this ganglion reads 2; upgrade, or write it"),
        (b'{"format_version": 3}', "has format version 3, this ganglion reads 2"),
    ],
)
def test_json_that_cannot_be_used_is_named(tmp_path, content, what):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.json: {what}"):
        read_json(tmp_path / "a.json", "write it", version=2)


def left_by_a_killed_process(path):
    """The folder that it wrote in, a minute ago."""
    code = "import os, sys; from pathlib import Path; from ganglion.core.paths import written_aside\n"
    code += "with written_aside(Path(sys.argv[1])) as aside: aside.write_text('half'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (room,) = path.parent.glob(f".{path.name}.*")
    os.utime(room, (time.time() - 60,) * 2)
    return room


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    left = left_by_a_killed_process(tmp_path / "bundle")
    other = left_by_a_killed_process(tmp_path / "bundle.old")
    (tmp_path / ".bundle.md").touch()
    with written_aside(tmp_path / "bundle") as aside:
        os.utime(aside.parent, (time.time() - 60,) * 2)  # being written for a minute
        clear_left(tmp_path / "bundle")
        assert aside.parent.is_dir() and not left.exists()
        aside.touch()
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", ".bundle.md", other.name}


def test_a_folder_just_made_is_not_taken_for_one_that_was_left(tmp_path):
    left = left_by_a_killed_process(tmp_path / "bundle")
    os.utime(left)
    clear_left(tmp_path / "bundle")
    assert left.is_dir()

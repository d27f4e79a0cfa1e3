"""VL features of a set: what the backbone sees, computed once, kept through kills, refused where something changed."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from demonstrations_for_test import ROBOT, episode, picture, stamps, written  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from ganglion.core.cli import main  # noqa: E402
from ganglion.core.errors import InputError  # noqa: E402
from ganglion.model.backbone.backbone import Backbone  # noqa: E402
from ganglion.model.checkpoint import resolve_base  # noqa: E402
from ganglion.training.demonstrations.computing import share  # noqa: E402
from ganglion.training.demonstrations.cutting import episode_views, view_images  # noqa: E402
from ganglion.training.demonstrations.episode import CameraStream, Episode  # noqa: E402
from ganglion.training.demonstrations.episode_set import EpisodeSet, add_episode, describe_set  # noqa: E402
from ganglion.training.demonstrations.feature_cache import FeatureCache, open_caches  # noqa: E402
from ganglion.training.demonstrations.feature_shards import EpisodeKey, Span  # noqa: E402

BASE = "offline:qwen2_vl?untrained"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
Refused = Callable[..., str]


def short(seed: int, **changes: object) -> Episode:
    """0.3 s: nine views; the wrist camera begins after the first two."""
    late = CameraStream(stamps(10, 0.2, 0.08), [picture(seed + 50), picture(seed + 51, 20, 12)])
    whole = episode(seed, 0.3)
    return replace(whole, **{"cameras": {**whole.cameras, "wrist": late}, **changes})


@pytest.fixture
def data(tmp_path: Path) -> EpisodeSet:
    return written(tmp_path / "set", short(0), short(1, instruction="Go down, slowly, until you feel it."), short(2))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(code, arguments): the one line of a command that fails."""

    def run(code: int, arguments: list[str]) -> str:
        capsys.readouterr()
        assert main(arguments) == code
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line and "Loading weights" not in line]
        assert line.startswith("ganglion: ") and line.rpartition("; ")[2]
        return line

    return run


def command(data: EpisodeSet, *more: str) -> list[str]:
    return ["cache", str(data.folder), "--base", BASE, "--precision", "float32", "--threads", "1", *more]


def cache_folder(data: EpisodeSet) -> Path:
    return data.folder.with_name("set.features")


def shards(data: EpisodeSet) -> dict[str, int]:
    """When each was written, by name."""
    return {path.name: path.stat().st_mtime_ns for path in (cache_folder(data) / "shards").iterdir()}


def all_features(cache: FeatureCache, data: EpisodeSet) -> list[torch.Tensor]:
    counts = [len(episode_views(data[number], data.robot).stamps_ns) for number in range(len(data))]
    return [cache.features(number, view) for number, count in enumerate(counts) for view in range(count)]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_every_view_has_the_features_that_a_backbone_sees_in_it(data: EpisodeSet, family: str) -> None:
    assert main(command(data, "--base", f"offline:{family}?untrained", "--layer", "1", "--batch_size", "4")) == 0
    cache = FeatureCache(cache_folder(data), data)
    assert (cache.facts.vl_layer, cache.facts.vl_width, cache.facts.model_type) == (1, 128, family)
    backbone = Backbone(cache.facts, "cpu")
    for number in range(len(data)):
        views = episode_views(data[number], data.robot)
        assert len(views.stamps_ns) == 9 and {int((row >= 0).sum()) for row in views.frames} == {1, 2}
        for view, frames in enumerate(views.frames):
            images = view_images(data[number], data.robot, frames, "here")
            with torch.no_grad():
                alone, _ = backbone.features([images], [data[number].instruction])
            torch.testing.assert_close(cache.features(number, view), alone[0], atol=1e-5, rtol=0)
    assert cache.features(0, -1).shape == (0, 128)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_as_stored_by_default_nothing_is_lost(data: EpisodeSet, precision: str) -> None:
    assert main(command(data, "--precision", precision, "--batch_size", "9")) == 0
    cache = FeatureCache(cache_folder(data), data)
    assert cache.features(0, 0).dtype == getattr(torch, precision)
    views = episode_views(data[0], data.robot).frames
    images = [view_images(data[0], data.robot, frames, "here") for frames in views]
    with torch.no_grad():
        features, mask = Backbone(cache.facts, "cpu").features(images, [data[0].instruction] * 9)
    for view in range(9):
        assert torch.equal(cache.features(0, view).float(), features[view][mask[view]])


def test_stored_as_half_it_takes_half_the_space_and_is_near(data: EpisodeSet, tmp_path: Path) -> None:
    assert main(command(data)) == main(command(data, "--stored", "float16", "--out", str(tmp_path / "half"))) == 0
    whole, half = (FeatureCache(folder, data) for folder in (cache_folder(data), tmp_path / "half"))
    sizes = [next((tmp_path / name / "shards").iterdir()).stat().st_size for name in ("set.features", "half")]
    assert 1.9 < sizes[0] / sizes[1] < 2.1
    for one, other in zip(all_features(whole, data), all_features(half, data), strict=True):
        torch.testing.assert_close(one, other.float(), atol=1e-2, rtol=1e-3)


@pytest.mark.slow
def test_reading_needs_neither_the_images_nor_transformers(data: EpisodeSet) -> None:
    assert main(command(data)) == 0
    for path in data.folder.rglob("camera.*"):
        path.unlink()
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['transformers', 'peft', 'accelerate']))\n"
        "from ganglion.training.demonstrations.episode_set import EpisodeSet\n"
        "from ganglion.training.demonstrations.feature_cache import FeatureCache\n"
        f"cache = FeatureCache({str(cache_folder(data))!r}, EpisodeSet({str(data.folder)!r}))\n"
        "print(cache.features(2, 8).shape[1], cache.facts.vl_layer)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout.split() == ["128", "2"]


def test_given_again_nothing_is_computed_again(data: EpisodeSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, "--shard_mb", "0.1")) == 0
    before = shards(data)
    assert len(before) > 2 and all(
        path.stat().st_size < 0.15 * 2**20 for path in (cache_folder(data) / "shards").iterdir()
    )
    assert main(command(data, "--shard_mb", "0.1")) == 0
    assert shards(data) == before
    assert "3 episodes, 0 views were missing, 0 computed" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_it_goes_on_behind_the_last_whole_shard(data: EpisodeSet, tmp_path: Path) -> None:
    tiny = ["--shard_mb", "0.01", "--batch_size", "1"]  # a shard for every view
    process = subprocess.Popen([sys.executable, "-m", "ganglion.core.cli", *command(data, *tiny)], env=ENVIRONMENT)
    folder = cache_folder(data) / "shards"
    while not list(folder.glob("*.safetensors")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder / ".half.x1y2").mkdir()  # what a kill in the middle of a shard leaves
    (folder / ".half.x1y2/half.safetensors").write_bytes(b"half")
    before = {name: written for name, written in shards(data).items() if name.endswith(".safetensors")}
    assert 0 < len(before) < 27, "the run ended before it could be killed"
    with pytest.raises(InputError, match=r"lacks (views of )?episode .*; run 'ganglion cache' again"):
        FeatureCache(cache_folder(data), data)
    assert main(command(data, *tiny)) == 0
    after = shards(data)
    assert before.items() <= after.items() and not [name for name in after if name.startswith(".")]
    assert main(command(data, "--out", str(tmp_path / "whole"))) == 0
    assert_equal(*(all_features(FeatureCache(f, data), data) for f in (cache_folder(data), tmp_path / "whole")))


def test_only_episodes_that_were_added_or_changed_are_computed(
    data: EpisodeSet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data)) == 0
    before = shards(data)
    add_episode(data.folder, short(7))
    with pytest.raises(InputError, match="lacks episode 000003; run 'ganglion cache' again"):
        FeatureCache(cache_folder(data), EpisodeSet(data.folder))
    FeatureCache(cache_folder(data), data)  # as it was when it was opened, the set is all there
    assert main(command(data)) == 0
    assert "4 episodes, 9 views were missing" in capsys.readouterr().out
    assert before.items() <= shards(data).items()
    facts = data.folder / "episodes/000001/episode.json"
    facts.write_text(facts.read_text().replace("Go down", "Go up"))
    with pytest.raises(InputError, match="has another episode 000001; run"):
        FeatureCache(cache_folder(data), EpisodeSet(data.folder))
    assert main(command(data)) == 0
    assert "4 episodes, 9 views were missing" in capsys.readouterr().out
    changed = FeatureCache(cache_folder(data), EpisodeSet(data.folder))
    assert changed.features(1, 0).shape != changed.features(0, 0).shape


def test_an_episode_without_any_camera_has_no_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = written(tmp_path / "set", short(0), short(1, cameras={}))
    assert main(command(data)) == main(command(data)) == 0
    assert "2 episodes, 0 views were missing" in capsys.readouterr().out
    cache = FeatureCache(cache_folder(data), data)
    assert cache.features(1, -1).shape == (0, 128) and len(cache.features(0, 8)) > 0


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--layer", "1"], r"vl_layer \(2, now 1\)"),
        (["--max_pixels", "3136"], r"image_processor.max_pixels \(12544, now 3136\)"),
        (["--base", "offline:qwen2_5_vl?untrained"], "base_hash"),
        (["--precision", "bfloat16", "--stored", "float32"], r'vl_precision \("float32", now "bfloat16"\)'),
        (["--stored", "float16"], r'stored \("float32", now "float16"\)'),
    ],
)
def test_features_of_something_else_are_not_taken_for_these(
    data: EpisodeSet, refused: Refused, more: list[str], what: str
) -> None:
    assert main(command(data)) == 0
    before = shards(data)
    line = refused(2, command(data, *more))
    assert "set.features: holds VL features of another " in line
    with pytest.raises(InputError, match=what):
        raise InputError(line)
    assert shards(data) == before
    assert main(command(data, *more, "--force")) == 0
    FeatureCache(cache_folder(data), data)


def test_what_training_asks_for_must_be_what_is_there(data: EpisodeSet) -> None:
    assert main(command(data)) == 0
    facts = FeatureCache(cache_folder(data), data).facts.to_dict()
    FeatureCache(cache_folder(data), data, {**facts, "base": "a copy of it elsewhere"})
    with pytest.raises(InputError, match=r"another vl_layer \(2, now 3\); undo the change, or run 'ganglion cache'"):
        FeatureCache(cache_folder(data), data, {"vl_layer": 3})


def test_the_set_of_another_robot_or_another_set_is_refused(data: EpisodeSet, tmp_path: Path) -> None:
    assert main(command(data)) == 0
    other = written(tmp_path / "other", short(4), short(5), short(6))
    with pytest.raises(InputError, match="has another episode 000000 and 2 more"):
        FeatureCache(cache_folder(data), other)
    describe_set(data.folder, replace(ROBOT, cameras=ROBOT.cameras[::-1]))
    with pytest.raises(InputError, match="holds VL features of another cameras"):
        FeatureCache(cache_folder(data), EpisodeSet(data.folder))


def test_sets_that_are_learned_from_together_have_one_backbone(data: EpisodeSet, tmp_path: Path) -> None:
    other = written(tmp_path / "other", short(4))
    caches = [cache_folder(data), tmp_path / "other.features"]
    assert main(command(data)) == main(command(other)) == 0
    facts, features = open_caches(caches, [data.folder, other.folder])
    assert facts.vl_layer == 2
    assert torch.equal(features[1](0, 3), FeatureCache(caches[1], other).features(0, 3))
    assert main(command(other, "--layer", "1", "--force")) == 0
    with pytest.raises(InputError, match=r"other\.features: holds VL features of another vl_layer \(1, now 2\)"):
        open_caches(caches, [data.folder, other.folder])


def test_what_is_damaged_is_named(data: EpisodeSet, refused: Refused) -> None:
    assert main(command(data)) == 0
    (shard,) = (cache_folder(data) / "shards").iterdir()
    whole, tensors = shard.read_bytes(), {name: tensor.clone() for name, tensor in load_file(shard).items()}
    spans = json.dumps([{"of": {"episode": "000000", "digest": "", "instruction": ""}, "views": 1, "first": 0}])
    damages: dict[str, Callable[[], object]] = {
        r"is damaged \(.*[Ii]ncomplete": lambda: shard.write_bytes(whole[:-100]),
        r"is damaged": lambda: shard.write_bytes(b"GIF89a" * 50),
        r"is no shard of this cache \('spans'\)": lambda: save_file(tensors, shard),
        r"is no shard of this cache .*count": lambda: save_file(tensors, shard, {"spans": spans}),
        r"add up": lambda: save_file(tensors, shard, {"spans": "[]"}),
        r"features are torch.float16": lambda: save_file(
            {**tensors, "features": tensors["features"].half()}, shard, {"spans": "[]"}
        ),
    }
    for what, damage in damages.items():
        damage()
        with pytest.raises(InputError, match=rf"{shard.name}: .*{what}") as error:
            FeatureCache(cache_folder(data), data)
        assert "\n" not in str(error.value)
        assert shard.name in refused(2, command(data)) and "delete it" in str(error.value)
    shard.unlink()
    assert main(command(data)) == 0
    assert torch.equal(load_file(shard)["features"], tensors["features"])
    FeatureCache(cache_folder(data), data)


def test_an_index_that_cannot_be_read_is_named(data: EpisodeSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cache\.json: is missing; make VL features with 'ganglion cache"):
        FeatureCache(tmp_path, data)
    index = tmp_path / "cache.json"
    for text, what in (
        ("{", "can't be read"),
        ("[]", "holds list, not an object"),
        ("{}", "has format version None"),
        ('{"format_version": 1}', "stored is None"),
        ('{"format_version": 1, "stored": "int8", "cameras": []}', "stored is 'int8'"),
        ('{"format_version": 9, "stored": "float32", "cameras": []}', "has format version 9"),
        ('{"format_version": 1, "stored": "float32", "cameras": []}', "has no key 'base'"),
    ):
        index.write_text(text)
        with pytest.raises(InputError, match=what):
            FeatureCache(tmp_path, data)


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path: Path, refused: Refused) -> None:
    front = list(short(1).cameras["front"].encoded)
    front[4] = front[4][:-20]
    cameras = {"front": CameraStream(stamps(30, 0.3), front)}
    data = written(tmp_path / "set", short(0), short(1, cameras=cameras))
    line = refused(2, command(data, "--shard_mb", "0.01", "--batch_size", "3"))
    assert "set: episode 000001, camera front, frame 4: can't be decoded" in line
    assert len(shards(data)) >= 9  # what was seen before is kept


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_whole_shards(data: EpisodeSet) -> None:
    code = (
        "import resource, sys; from ganglion.core.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16)); "
        f"sys.exit(main({command(data)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "can't write" in line and "File too large" in line and "free space" in line
    assert not list((cache_folder(data) / "shards").iterdir())
    assert main(command(data)) == 0


def test_features_beyond_what_is_stored_are_named(data: EpisodeSet, tmp_path: Path, refused: Refused) -> None:
    base = tmp_path / "base"
    shutil.copytree(resolve_base(BASE), base)
    tensors = load_file(base / "model.safetensors")
    (name,) = [name for name in tensors if name.endswith("embed_tokens.weight")]
    save_file({**tensors, name: tensors[name] * 1e6}, base / "model.safetensors", {"format": "pt"})
    line = refused(1, command(data, "--base", str(base), "--stored", "float16"))
    assert "set: episode 000000, view 0: features computed in float32 and stored as float16 are not finite" in line
    assert "--stored bfloat16" in line
    assert main(command(data, "--base", str(base), "--stored", "bfloat16", "--force")) == 0


def test_two_runs_do_not_fill_one_folder(data: EpisodeSet, refused: Refused) -> None:
    cache_folder(data).mkdir()
    with (cache_folder(data) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert "is being filled by another run" in refused(2, command(data))
    assert main(command(data)) == 0


def test_a_folder_with_something_else_is_left_alone(data: EpisodeSet, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    for more in ([], ["--force"]):
        assert "holds something other" in refused(2, command(data, "--out", str(tmp_path / "mine"), *more))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    assert "can't write" in refused(1, command(data, "--out", str(tmp_path / "file")))


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--precision", "int8"], "--precision is 'int8'"),
        (["--stored", "int8"], "--stored is 'int8'"),
        (["--batch_size", "0"], "--batch_size is 0"),
        (["--workers", "-1"], "--workers is -1"),
        (["--shard_mb", "0"], "--shard_mb is 0"),
        (["--layer", "7"], "text layer 7 does not exist"),
        (["--base", "no such base"], "no such checkpoint folder"),
    ],
)
def test_bad_options_are_named_and_leave_nothing(
    data: EpisodeSet, refused: Refused, more: list[str], what: str
) -> None:
    assert what in refused(2, command(data, *more))
    assert not cache_folder(data).exists()


def test_no_set_and_no_camera_are_named(tmp_path: Path, refused: Refused) -> None:
    assert "holds no episodes" in refused(2, ["cache", str(tmp_path)])
    blind = written(tmp_path / "set", episode(0, 0.3, cameras={}), robot=replace(ROBOT, cameras=()))
    assert "is of a robot without cameras" in refused(2, command(blind))


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5))
def test_processes_share_the_views_evenly_and_each_exactly_once(counts: list[int], processes: int) -> None:
    spans = [Span(EpisodeKey(str(k), "", ""), count + 5, 5, count) for k, count in enumerate(counts)]
    parts = [share(spans, process, processes) for process in range(processes)]
    views = [
        (span.of.episode, view)
        for part in parts
        for span in part
        for view in range(span.first, span.first + span.count)
    ]
    assert views == [(str(k), view) for k, count in enumerate(counts) for view in range(5, 5 + count)]
    sizes = [sum(span.count for span in part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    empty = [span.of.episode for part in parts for span in part if not span.count]
    assert empty == [str(k) for k, count in enumerate(counts) if not count]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(data: EpisodeSet, tmp_path: Path, refused: Refused) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]

    def both(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*torchrun, "ganglion.core.cli", *command(data, *more)],
            capture_output=True, text=True, timeout=300, env=ENVIRONMENT, check=False,
        )  # fmt: skip

    done = both("--shard_mb", "0.05")
    assert done.returncode == 0, done.stderr[-2000:]
    assert {line.rpartition(", ")[2] for line in done.stdout.splitlines()} == {
        "13 computed by process 0 of 2",
        "14 computed by process 1 of 2",
    }
    assert main(command(data, "--out", str(tmp_path / "one"))) == 0
    assert_equal(*(all_features(FeatureCache(f, data), data) for f in (cache_folder(data), tmp_path / "one")))
    wrong = both("--layer", "1")
    assert wrong.returncode != 0
    assert sum("another vl_layer" in line for line in wrong.stderr.splitlines()) == 1


@pytest.mark.slow
def test_workers_decode_the_same_and_name_the_same_error(data: EpisodeSet, tmp_path: Path) -> None:
    assert main(command(data, "--workers", "2", "--batch_size", "4", "--out", str(tmp_path / "two"))) == 0
    assert main(command(data, "--batch_size", "4")) == 0
    assert_equal(*(all_features(FeatureCache(f, data), data) for f in (tmp_path / "two", cache_folder(data))))
    images = data.folder / "episodes/000002/camera.front.images"
    images.write_bytes(bytes(images.stat().st_size))
    bad = [sys.executable, "-m", "ganglion.core.cli", *command(data, "--workers", "1", "--out", str(tmp_path / "bad"))]
    done = subprocess.run(bad, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    assert "episode 000002, camera front, frame 0: can't be decoded" in done.stderr.splitlines()[-1]

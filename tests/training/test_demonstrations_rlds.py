"""RLDS in, episodes out: what each feature becomes, and what is made up, told."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstrations_for_test import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from rlds_for_test import described, example, image, steps, tensor, write_records, write_set

from ganglion.core.cli import main
from ganglion.core.errors import InputError
from ganglion.core.specs import CameraSpec, to_dict
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.rlds.example import decode_example
from ganglion.training.demonstrations.rlds.tfrecord import read_records

HZ = ("--rate_hz", "10")


def imported(source: Path, *options: str, name: str = "out") -> EpisodeSet:
    out = source.parent / name
    assert main(["data", "import", "rlds", str(source), "--out", str(out), *options]) == 0
    return EpisodeSet(out)


@settings(max_examples=25)
@given(records=st.lists(st.binary(max_size=300), max_size=6))
def test_records_are_read_as_tensorboard_writes_them(records: list[bytes], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    write_records(path, records)
    assert list(read_records(path)) == records


@settings(max_examples=60)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_file_is_noticed_and_the_records_before_it_are_whole(
    place: int, bit: int, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    records = [bytes(range(50)), b"x" * 200, b"", b"end"]
    write_records(path, records)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    found = list(read_records(path))
    bad = [number for number, record in enumerate(found) if isinstance(record, InputError)]
    assert len(bad) == 1 and found[: bad[0]] == records[: bad[0]]
    error = str(found[bad[0]])
    assert ("a.tfrecord" in error and "checksum" in error) or "is no TFRecord file" in error
    if "data unlike" in error:
        assert found[bad[0] + 1 :] == records[bad[0] + 1 :], "the next ones can still be found"


@pytest.mark.parametrize("cut", [1, 4, 11, 12, 13, 61, 62, 66, 67, 75])
def test_a_file_cut_short_is_named_at_its_record(cut: int, tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [b"x" * 50, b"y" * 5])
    data = (tmp_path / "a.tfrecord").read_bytes()
    (tmp_path / "a.tfrecord").write_bytes(data[:cut])
    *whole, error = read_records(tmp_path / "a.tfrecord")
    if cut == 66:  # right between two records nothing can be told
        assert error == b"x" * 50
    else:
        assert str(error) == f"a.tfrecord, record {int(cut > 66)}: is cut short; copy the file again"
        assert whole == [b"x" * 50] * (cut > 66)


def test_a_length_that_no_memory_has_is_no_danger(tmp_path: Path) -> None:
    import google_crc32c

    head = struct.pack("<Q", 2**62)
    checksum = google_crc32c.value(head)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "a").write_bytes(head + struct.pack("<I", masked) + b"abc")
    (error,) = read_records(tmp_path / "a")
    assert "record 0: is cut short" in str(error)


def test_an_example_gives_bytes_floats_and_integers() -> None:
    given = {"b": [b"", b"\xff\x00"], "f": np.float32([0.1, -np.inf, 3]), "i": [0, -1, 2**62], "none": []}
    found = decode_example(example(given), ["b", "f", "i", "none", "absent"], "here")
    assert found["b"] == [b"", b"\xff\x00"] and found["none"] == [] and "absent" not in found
    np.testing.assert_array_equal(found["f"], given["f"])
    np.testing.assert_array_equal(found["i"], given["i"])
    with pytest.raises(InputError, match=r"here: is no tf\.train\.Example"):
        decode_example(b"\x0a\xff", ["b"], "here")


def test_steps_become_streams_at_the_rate_given_and_images_stay_the_bytes_they_are(tmp_path: Path) -> None:
    given = [steps(4, 0), steps(7, 1)]
    found = imported(write_set(tmp_path / "in", *given), *HZ)
    assert len(found) == 2
    for episode, step in zip((found[0], found[1]), given, strict=True):
        np.testing.assert_array_equal(episode.actions.values, step["steps/action"])
        np.testing.assert_array_equal(episode.state.values, step["steps/observation/state"])
        assert list(episode.cameras["image_0"].encoded) == step["steps/observation/image_0"]
        for stamps in (episode.actions.stamps_ns, episode.state.stamps_ns, episode.cameras["image_0"].stamps_ns):
            np.testing.assert_array_equal(stamps, np.arange(len(stamps)) * 100_000_000)
        assert episode.instruction == "push"
    assert [found[k].session for k in (0, 1)] == ["/raw/0.npy", "/raw/1.npy"]
    assert found[1].notes["metadata"] == {"file_path": "/raw/1.npy", "episode_id": 1}
    assert found[1].notes["record"] == "tiny-train.tfrecord-00000-of-00001, record 1"


def test_the_robot_is_what_the_data_tell_and_what_they_do_not_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [steps(4, 0), steps(7, 1)]
    found = imported(write_set(tmp_path / "in", *given), *HZ)
    robot, actions = found.robot, np.concatenate([one["steps/action"] for one in given])
    assert robot.name == "tiny" and robot.cameras == (CameraSpec("image_0", 12, 16, 10.0),)
    assert robot.actions.names == ("action_0", "action_1", "action_2") and robot.actions.rate_hz == 10
    assert robot.actions.low == tuple(actions.min(0).tolist())
    assert robot.actions.high == tuple(actions.max(0).tolist())
    fastest = np.concatenate([np.abs(np.diff(one["steps/action"].astype(float), axis=0)) for one in given]).max(0) * 10
    np.testing.assert_allclose(robot.actions.max_rate, fastest)
    assert robot.state.names == ("state_0", "state_1") and set(robot.state.units) == {"unknown"}
    printed = capsys.readouterr().out
    for note in found.source["notes"]:
        assert note in printed
    for said in ("numbered at 10 Hz", "tells no units", "limits of actions", "left out: image_1", "file_path"):
        assert said in printed
    assert found.source["name"] == "tiny 2.0.0" and found.source["kind"] == "rlds"


def test_a_camera_that_is_black_in_one_episode_is_missing_in_that_one(tmp_path: Path) -> None:
    sees = steps(3, 1, steps__observation__image_1=[picture(k) for k in range(3)])
    found = imported(write_set(tmp_path / "in", steps(3, 0), sees), *HZ)
    assert [camera.name for camera in found.robot.cameras] == ["image_0", "image_1"]
    assert [sorted(found[k].cameras) for k in (0, 1)] == [["image_0"], ["image_0", "image_1"]]
    assert found[0].notes["black_cameras"] == ["image_1"] and "black_cameras" not in found[1].notes


def test_a_dimension_that_never_changes_still_has_limits(tmp_path: Path) -> None:
    still = np.full((3, 3), 2.0, np.float32)
    robot = imported(write_set(tmp_path / "in", steps(3, steps__action=still)), *HZ).robot
    assert (robot.actions.low, robot.actions.high) == ((1.0,) * 3, (3.0,) * 3) and robot.actions.max_rate == (1.0,) * 3


def test_columns_choose_and_name_what_is_taken_and_put_features_end_to_end(tmp_path: Path) -> None:
    action = {"featuresDict": {"features": {"turn": tensor("float32", 2), "grip": tensor("float32")}}}
    own = described({"rgb": image(), "pose": tensor("int64", 2)}, action=action)
    given = {
        "steps/action/turn": np.float32([[1, 2], [3, 4]]),
        "steps/action/grip": np.float32([5, 6]),
        "steps/observation/pose": [7, 8, 9, 10],
        "steps/observation/rgb": [picture(0), picture(1)],
        "steps/language_instruction": [b"turn", b"turn"],
    }
    source = write_set(tmp_path / "in", given, features=own)
    columns = {
        "action/turn": "actions",
        "action/grip": "actions",
        "observation/pose": "state",
        "observation/rgb": "front",
    }
    found = imported(source, *HZ, "--columns", json.dumps(columns))
    assert found[0].actions.values.tolist() == [[1, 2, 5], [3, 4, 6]] and found[0].state.values.tolist()[1] == [9, 10]
    assert found.robot.actions.names == ("turn_0", "turn_1", "grip") and list(found[0].cameras) == ["front"]
    assert found[0].instruction == "" and found[0].session.endswith("record 0")
    usual = imported(source, *HZ, name="usual")
    assert usual[0].actions.values.tolist() == [[5, 1, 2], [6, 3, 4]], "in the order of their names"
    assert usual[0].state is None and usual[0].instruction == "turn" and list(usual[0].cameras) == ["rgb"]


def test_a_robot_spec_decides_names_limits_and_which_cameras(tmp_path: Path) -> None:
    source = write_set(tmp_path / "in", steps(4, 0), steps(4, 1))
    spec = to_dict(imported(source, *HZ).robot)
    spec["actions"] |= {"names": ["x", "y", "grip"], "units": ["m", "m", "1"], "low": [-5] * 3, "high": [5] * 3}
    spec |= {"name": "arm", "cameras": [], "state": None}
    (tmp_path / "arm.json").write_text(json.dumps(spec))
    found = imported(source, "--robot", str(tmp_path / "arm.json"), name="named")
    assert found.robot.name == "arm" and found.robot.actions.high == (5, 5, 5)
    assert found[0].cameras == {} and found[0].state is None and len(found[0].actions.values) == 4
    again = imported(source, "--robot", str(tmp_path / "named/set.json"), name="again")
    assert again.robot == found.robot and again.digest() == found.digest()


@pytest.mark.parametrize(
    ("session", "expected"),
    [("episode_id", ["0", "1", "2"]), ("episode_metadata/file_path", ["/raw/0.npy", "/raw/1.npy", "/raw/0.npy"])],
)
def test_a_session_is_what_the_user_says(session: str, expected: list[str], tmp_path: Path) -> None:
    found = imported(write_set(tmp_path / "in", *(steps(2, k) for k in range(3))), *HZ, "--session", session)
    assert [found[k].session for k in range(3)] == expected


def test_each_episode_may_be_its_own_session(tmp_path: Path) -> None:
    found = imported(write_set(tmp_path / "in", steps(2, 0), steps(2, 0)), *HZ, "--session", "episode")
    assert found[0].session != found[1].session


def test_a_split_and_all_of_its_shards_are_read_in_order(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "in", steps(2, 0), split="val")
    for shard in range(3):
        records = [example(steps(2, 10 * shard + k)) for k in range(2)]
        write_records(folder / f"tiny-train.tfrecord-{shard:05d}-of-00003", records)
    ids = [episode.notes["metadata"]["episode_id"] for episode in imported(folder, *HZ)]
    assert ids == [0, 1, 10, 11, 20, 21]
    assert len(imported(folder, *HZ, "--split", "val", name="val")) == 1
    assert len(imported(folder / "tiny-train.tfrecord-00001-of-00003", *HZ, name="one")) == 2


def test_fewer_episodes_than_announced_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_set(tmp_path / "in", steps(2, 0), steps(2, 1))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["2", "3"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    imported(folder, *HZ)
    assert "the source announces 5 episodes and holds 2" in capsys.readouterr().out


def test_bad_episodes_can_be_left_out_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nan = np.zeros((3, 3), np.float32)
    nan[1, 2] = np.nan
    folder = write_set(tmp_path / "in", steps(3, 0), steps(3, 1, steps__action=nan), steps(3, 2), steps(3, 3))
    path = folder / "tiny-train.tfrecord-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    found = imported(folder, *HZ, "--bad_rows", "skip")
    assert [episode.notes["metadata"]["episode_id"] for episode in found] == [0, 2]
    assert "2 bad episodes left out" in capsys.readouterr().out
    listed = [json.loads(line) for line in (tmp_path / "out/bad_rows.jsonl").read_text().splitlines()]
    assert [one["episode"] for one in listed] == [1, 3]
    assert listed[0]["reason"] == "tiny, actions: is not finite at reading 1; cut it out or mend it"
    assert "record 3: has data unlike its checksum" in listed[1]["reason"]
    assert main(["data", "import", "rlds", str(folder), "--out", str(tmp_path / "no"), *HZ]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(str(folder) in line for line in lines)
    assert "episode 1: " in lines[0] and "episode 3: " in lines[1]
    assert not (tmp_path / "no").exists()


def test_real_bridge_episodes(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "bridge_rlds_mini"
    out = tmp_path / "out"
    assert main(["data", "import", "rlds", str(source), "--out", str(out), "--rate_hz", "5"]) == 0
    found = EpisodeSet(out)
    assert len(found) == 17 and [camera.name for camera in found.robot.cameras] == ["image_0", "image_1", "image_2"]
    assert len({episode.session for episode in found}) == 4
    first = found[0]
    assert first.instruction == "put cup from counter or drying rack into sink"
    np.testing.assert_allclose(first.state.values[0, :3], [0.2338148, 0.112443, 0.1750485], rtol=1e-6)
    raw = (source / "bridge_dataset-train.tfrecord-00000-of-00001").read_bytes()
    for episode in found:
        assert episode.actions.values.shape == (10, 7) and episode.actions.stamps_ns[-1] == 1_800_000_000
        assert all(frame in raw for camera in episode.cameras.values() for frame in camera.encoded)
        moved = np.diff(episode.state.values[:, :3], axis=0)
        assert np.abs(moved - episode.actions.values[:-1, :3]).max() < 0.02, "actions are steps of the state, in meters"

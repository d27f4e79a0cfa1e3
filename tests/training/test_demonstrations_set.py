"""A set of episodes: what it refuses, what identifies it, and that a split never parts a session."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demonstrations_for_test import ROBOT, episode, written
from hypothesis import given, settings
from hypothesis import strategies as st

from ganglion.core.errors import InputError
from ganglion.training.demonstrations.episode_set import (
    EpisodeSet,
    SetWriter,
    add_episode,
    create_set,
    describe_set,
    split_sessions,
)


def test_a_set_grows_by_whole_episodes_in_order(tmp_path: Path) -> None:
    create_set(tmp_path / "set", ROBOT, {"from": "here"})
    assert [add_episode(tmp_path / "set", episode(k)) for k in range(2)] == ["000000", "000001"]
    writer = SetWriter(tmp_path / "set")
    assert [writer.add(episode(k)) for k in (2, 3)] == ["000002", "000003"]
    found = EpisodeSet(tmp_path / "set")
    assert len(found) == 4 and found.robot == ROBOT and found.source == {"from": "here"}
    assert [found[k].notes["take"] for k in range(4)] == [0, 1, 2, 3]


def test_an_episode_that_does_not_fit_leaves_nothing_and_takes_no_number(tmp_path: Path) -> None:
    written(tmp_path / "set", episode(0))
    writer = SetWriter(tmp_path / "set")
    with pytest.raises(InputError, match=r"set: episode 000001, state: has shape"):
        writer.add(episode(1, state=episode().actions))
    assert [path.name for path in (tmp_path / "set/episodes").iterdir()] == ["000000"]
    assert writer.add(episode(1)) == "000001"


def test_after_an_episode_was_removed_no_other_takes_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    written(folder, *(episode(k) for k in range(3)))
    shutil.rmtree(folder / "episodes/000001")
    assert SetWriter(folder).add(episode(3)) == "000003"
    assert EpisodeSet(folder).names == ["000000", "000002", "000003"]


def test_other_folders_beside_episodes_are_not_taken_for_some(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    written(folder, episode(0))
    for name in ("000001 copy", ".000002.x", "notes", "000003"):  # the last has no episode.json
        (folder / "episodes" / name).mkdir()
    (folder / "episodes/000001 copy/episode.json").write_text("{}")
    assert EpisodeSet(folder).names == ["000000"]


def test_a_folder_with_something_in_it_is_not_made_a_set(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="is not empty; choose another folder"):
        create_set(tmp_path, ROBOT)


def test_a_name_that_can_be_no_files_is_refused(tmp_path: Path) -> None:
    camera = replace(ROBOT.cameras[0], name="top/left")
    with pytest.raises(InputError, match="robot small: the name 'top/left'"):
        create_set(tmp_path / "set", replace(ROBOT, cameras=(camera,)))
    assert not (tmp_path / "set").exists()


def spoil(key: str, value: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        facts = json.loads(path.read_text())
        facts[key] = value
        path.write_text(json.dumps(facts))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, "holds no episodes; give a folder that data import wrote"),
        (lambda path: path.write_text("{"), r"set\.json: is no set of episodes"),
        (lambda path: path.write_text("[]"), r"set\.json: is no set of episodes"),
        (lambda path: path.write_text('{"format_version": 1}'), r"set\.json: is no set of episodes \('robot'\)"),
        (lambda path: path.write_bytes(b"\xff"), r"set\.json: is no set of episodes"),
        (spoil("format_version", 2), r"has format version 2, this ganglion reads 1; upgrade"),
        (spoil("robot", {"name": "x"}), r"set\.json: key 'actions' of RobotSpec is missing"),
        (spoil("robot", []), r"set\.json: expected an object for RobotSpec"),
    ],
)
def test_a_folder_that_holds_no_set_is_one_line(change: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    written(tmp_path / "set", episode())
    change(tmp_path / "set/set.json")
    for use in (EpisodeSet, SetWriter):
        with pytest.raises(InputError, match=message) as error:
            use(tmp_path / "set")
        assert "\n" not in str(error.value)


def test_a_set_without_episodes_is_named(tmp_path: Path) -> None:
    create_set(tmp_path / "set", ROBOT)
    with pytest.raises(InputError, match="set: holds no episode; import or record one"):
        EpisodeSet(tmp_path / "set")


def test_the_digest_of_a_set_follows_robot_content_order_and_words(tmp_path: Path) -> None:
    kinds = {
        "a": [episode(0), episode(1)],
        "copy": [episode(0), episode(1)],
        "order": [episode(1), episode(0)],
        "fewer": [episode(0)],
        "words": [episode(0, instruction="push"), episode(1)],
        "session": [episode(0), episode(1, session="tuesday")],
    }
    digests = {name: written(tmp_path / name, *episodes).digest() for name, episodes in kinds.items()}
    assert digests["a"] == digests.pop("copy") and len(set(digests.values())) == len(digests)
    describe_set(tmp_path / "a", replace(ROBOT, name="other"))
    assert EpisodeSet(tmp_path / "a").digest() != digests["a"]


def sessions_of(found: EpisodeSet, numbers: list[int]) -> set[str]:
    return {found[number].session for number in numbers}


@settings(max_examples=25)
@given(
    sessions=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 9)), min_size=1, max_size=12),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 5),
)
def test_a_split_never_parts_a_session(
    sessions: list[tuple[str, int]], share: float, seed: int, tmp_path_factory: Any
) -> None:
    bare = [
        episode(k, seconds=length / 10, session=name, sensors={}, cameras={}, state=None, absent={})
        for k, (name, length) in enumerate(sessions)
    ]
    found = written(tmp_path_factory.mktemp("split") / "set", *bare)
    try:
        learned, held = split_sessions(found, share, seed)
    except InputError as error:
        assert "leaves a side empty; give another share" in str(error)
        return
    assert sorted(learned + held) == list(range(len(sessions))) and learned
    assert not sessions_of(found, learned) & sessions_of(found, held)
    assert bool(held) == (share > 0)
    assert split_sessions(found, share, seed) == (learned, held)
    longest = max(sum(length for name, length in sessions if name == one) for one, _ in sessions)
    total, back = sum(length for _, length in sessions), sum(sessions[number][1] for number in held)
    assert abs(back - share * total) <= longest


def test_the_seed_decides_and_the_order_of_episodes_does_not(tmp_path: Path) -> None:
    bare = [episode(k, session=f"day {k % 8}", sensors={}, cameras={}, absent={}) for k in range(24)]
    found, turned = written(tmp_path / "a", *bare), written(tmp_path / "b", *bare[::-1])
    held = {seed: sessions_of(found, split_sessions(found, 0.25, seed)[1]) for seed in range(6)}
    assert held == {seed: sessions_of(turned, split_sessions(turned, 0.25, seed)[1]) for seed in range(6)}
    assert (
        all(len(names) == 2 for names in held.values()) and len({tuple(sorted(names)) for names in held.values()}) > 2
    )


@pytest.mark.parametrize("share", [0.001, 0.999, 1.0])
def test_one_session_can_not_be_split(share: float, tmp_path: Path) -> None:
    found = written(tmp_path / "set", episode(0), episode(1))
    with pytest.raises(InputError, match="of 1 sessions leaves a side empty; give another share, or data of more"):
        split_sessions(found, share, 0)
    assert split_sessions(found, 0, 0) == ([0, 1], [])


def test_more_episodes_than_are_kept_open_can_be_read(tmp_path: Path) -> None:
    bare = [episode(k, seconds=0.1, sensors={}, cameras={}, absent={}) for k in range(70)]
    found = written(tmp_path / "set", *bare)
    for number in [*range(70), *range(0, 70, 7)]:
        assert found[number].notes["take"] == number

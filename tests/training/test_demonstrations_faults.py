"""What is wrong with a set of episodes: each fault made on purpose is found and named, and a good set has none."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstrations_for_test import ROBOT, encoded, episode, picture, stamps, stream, written

from ganglion.core.cli import main
from ganglion.core.errors import InputError
from ganglion.core.findings import FAILED, NOTE, WARNING, Finding
from ganglion.core.specs import RobotSpec
from ganglion.training.demonstrations.episode import CameraStream, Episode, Stream
from ganglion.training.demonstrations.episode_set import EpisodeSet, split_sessions
from ganglion.training.demonstrations.faults import find_faults, find_overlap
from ganglion.training.demonstrations.integrity import check_set
from ganglion.training.demonstrations.measures import measure_set
from ganglion.training.demonstrations.summary import summarize


def good(seed: int = 0, **changes: Any) -> Episode:
    return episode(seed, **{"session": f"day {seed}", "absent": {}, **changes})


def faults(folder: Path, *episodes: Episode, robot: RobotSpec = ROBOT) -> list[Finding]:
    found = written(folder / "set", *episodes, robot=robot)
    return find_faults(robot, measure_set(found))


def the(findings: list[Finding], name: str) -> Finding:
    (found,) = (finding for finding in findings if finding.name == name)
    assert found.remedy
    return found


def shown(pixels: Callable[[int], Any]) -> CameraStream:
    return CameraStream(stamps(10, 1.0), [encoded(np.uint8(pixels(k) + np.zeros((12, 16, 3)))) for k in range(10)])


def cameras(**changed: CameraStream) -> dict[str, CameraStream]:
    return {**episode().cameras, **changed}


def test_a_good_set_has_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, good(0), good(1)) == []


def dimensions(first: Any, second: Any) -> Stream:
    made = stream(5, 2, stamps(20, 1.0))
    for column, values in enumerate((first, second)):
        if values is not None:
            made.values[:, column] = values
    return made


def test_actions_that_never_change_are_named_by_dimension(tmp_path: Path) -> None:
    still = [good(k, actions=dimensions(None, 3.0), state=stream(k, 3, stamps(50, 1.0))) for k in range(2)]
    found = faults(tmp_path, *still)
    assert [finding.name for finding in found] == ["actions"]
    assert found[0].severity == WARNING and found[0].found == "never change: y (3)"


@pytest.mark.parametrize(("value", "said"), [(0.0, "empty: 0 everywhere"), (2.0, "the same everywhere")])
def test_empty_and_constant_actions_and_states_fail(value: float, said: str, tmp_path: Path) -> None:
    state = Stream(stamps(50, 1.0), np.full((50, 3), value, np.float32))
    found = faults(tmp_path, *(good(k, actions=dimensions(value, value), state=state) for k in range(2)))
    for name in ("actions", "state"):
        assert (the(found, name).severity, the(found, name).found) == (FAILED, said)


def test_a_dimension_that_differs_between_episodes_is_none_that_never_changes_but_resting_is_told(
    tmp_path: Path,
) -> None:
    found = faults(tmp_path, good(0, actions=dimensions(1, 2)), good(1, actions=dimensions(3, 4)), good(2))
    assert [finding.name for finding in found] == ["resting"]
    assert found[0].found == "no action ever changes in 2 of 3 episodes (000000, 000001)"


def test_black_plain_and_frozen_cameras_are_told_apart(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3))
    kinds = {
        "black": shown(lambda k: 3),
        "plain": shown(lambda k: 90 + 5 * k),
        "frozen": shown(lambda k: noise),
        "fine": shown(lambda k: np.roll(noise, k, axis=0)),
    }
    found = faults(tmp_path, *(good(k, cameras=cameras(wrist=kind)) for k, kind in enumerate(kinds.values())))
    assert [(finding.name, finding.severity, finding.found) for finding in found] == [
        ("camera wrist", WARNING, "black in 1 of 4 episodes (000000)"),
        ("camera wrist", WARNING, "of one plain color in 1 of 4 episodes (000001)"),
        ("camera wrist", WARNING, "frozen on one picture in 1 of 4 episodes (000002)"),
    ]


def test_a_slot_that_is_black_wherever_it_was_recorded_fails(tmp_path: Path) -> None:
    black = cameras(wrist=shown(lambda k: 0))
    blind = {"front": episode().cameras["front"]}
    found = the(
        faults(tmp_path, good(0, cameras=black), good(1, cameras=black), good(2, cameras=blind)), "camera wrist"
    )
    assert (found.severity, found.found) == (FAILED, "black in 2 of 2 episodes (000000, 000001)")


def test_what_is_declared_and_never_recorded_is_named(tmp_path: Path) -> None:
    bare = [good(k, sensors={}, state=None, cameras={}) for k in range(2)]
    found = faults(tmp_path, *bare)
    assert {finding.name for finding in found} == {"sensor tip", "state", "camera front", "camera wrist"}
    assert all("recorded in no episode" in finding.found for finding in found)


@pytest.mark.parametrize(
    ("rate_hz", "severity"), [(100.5, None), (102.0, WARNING), (97.0, WARNING), (50.0, FAILED), (200.0, FAILED)]
)
def test_stamps_that_disagree_with_the_declared_rate_are_measured(
    rate_hz: float, severity: str | None, tmp_path: Path
) -> None:
    off = good(1, sensors={"tip": stream(1, 4, stamps(rate_hz, 1.0))})
    found = faults(tmp_path, good(0), off)
    if severity is None:
        assert found == []
    else:
        told = the(found, "rate of sensor tip")
        assert told.severity == severity
        assert told.found == f"{rate_hz:g} Hz as measured, 100 as declared, in 1 of 2 episodes (000001)"


def test_every_stream_is_held_to_its_own_rate(tmp_path: Path) -> None:
    slow = good(
        1,
        actions=stream(1, 2, stamps(10, 1.0)),
        state=stream(1, 3, stamps(25, 1.0)),
        cameras=cameras(front=CameraStream(stamps(15, 1.0), [picture(k) for k in range(15)])),
    )
    names = {finding.name for finding in faults(tmp_path, good(0), slow)}
    assert names == {"rate of actions", "rate of state", "rate of camera front"}


def test_gaps_are_counted_and_measured(tmp_path: Path) -> None:
    kept = np.r_[0:40, 45:100]
    gapped = good(1, sensors={"tip": stream(1, 4, stamps(100, 1.0)[kept])})
    told = the(faults(tmp_path, good(0), gapped), "gaps of sensor tip")
    assert told.severity == WARNING
    assert told.found == "2.50% of readings missing, up to 0.06 s at once, in 1 of 2 episodes (000001)"


def test_jitter_is_no_gap_and_a_single_loss_a_note(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jittered = stamps(100, 3.0) + rng.integers(0, 3_000_000, 300)
    found = faults(
        tmp_path,
        good(0, sensors={"tip": stream(0, 4, jittered)}),
        good(1, sensors={"tip": stream(1, 4, np.delete(stamps(100, 3.0), 50))}),
    )
    assert [(finding.name, finding.severity) for finding in found] == [("gaps of sensor tip", NOTE)]


def test_a_stream_of_another_clock_is_found(tmp_path: Path) -> None:
    later = good(1, state=stream(1, 3, stamps(50, 1.0, start_s=1000)))
    told = the(faults(tmp_path, good(0), later), "clock of state")
    assert (told.severity, told.found) == (
        FAILED,
        "no reading within a second of the actions, in 1 of 2 episodes (000001)",
    )


def test_actions_beyond_the_limits_are_counted_by_dimension(tmp_path: Path) -> None:
    actions = dimensions(None, None)
    actions.values[[3, 7], 1] = (10.5, -11)
    robot = replace(ROBOT, actions=replace(ROBOT.actions, max_rate=(1e4, 300.0)))
    found = faults(tmp_path, good(0), good(1, actions=actions), robot=robot)
    assert the(found, "limits of y").found == "2 of 40 actions are not in -10 to 10"
    changes = np.abs(np.diff(np.concatenate([good(0).actions.values[:, 1], actions.values[:, 1]]))) * 20
    fast = int((np.delete(changes, 19) > 300).sum())
    assert fast and the(found, "max_rate of y").found == f"{fast} of 40 actions change faster than 300 a second"
    assert len(found) == 2


def test_missing_instructions_one_session_and_copies_are_told(tmp_path: Path) -> None:
    found = faults(tmp_path, good(0, session="a"), good(1, instruction=" ", session="a"), good(0, session="a"))
    assert "no instruction in 1 of 3 episodes (000001)" in the(found, "instruction").found
    assert the(found, "sessions").found == "all 3 episodes are of one session"
    assert (the(found, "copies").severity, the(found, "copies").found) == (
        WARNING,
        "1 of 3 episodes (000002) are copies of others",
    )


def test_a_copy_in_another_session_fails_since_a_split_would_leak(tmp_path: Path) -> None:
    told = the(faults(tmp_path, good(0), good(1), good(0, session="other day")), "copies")
    assert (told.severity, told.found) == (FAILED, "1 of 3 episodes (000002) are copies of others, in other sessions")


def test_many_episodes_are_named_by_a_few(tmp_path: Path) -> None:
    bare = [good(k, instruction="", cameras={}, sensors={}, state=None) for k in range(7)]
    told = the(faults(tmp_path, *bare, robot=replace(ROBOT, cameras=(), sensors=(), state=None)), "instruction")
    assert told.severity == NOTE
    assert told.found == "no instruction in 7 of 7 episodes (000000, 000001, 000002, 000003, ...)"


def test_a_validation_set_equal_to_the_training_set_fails(tmp_path: Path) -> None:
    one, other = (written(tmp_path / name, good(0), good(1)) for name in ("train", "val"))
    (told,) = find_overlap(measure_set(one), measure_set(other))
    assert (told.severity, told.found) == (FAILED, "both are the same episodes")


def test_what_two_sets_share_is_named_by_content_by_actions_and_by_session(tmp_path: Path) -> None:
    learned = written(tmp_path / "train", good(0), good(1), good(2))
    held = written(
        tmp_path / "val", good(7), good(1, session="x"), good(2, session="y", state=None), good(8, session="day 0")
    )
    found = find_overlap(measure_set(held), measure_set(learned, images=False))
    assert [(finding.severity, finding.found) for finding in found] == [
        (FAILED, "1 of 4 episodes (000001) are in the other too"),
        (FAILED, "1 of 4 episodes (000002) have exactly the actions of one of the other"),
        (WARNING, "1 of 4 episodes (000003) are of a session that the other has too"),
    ]
    assert find_overlap(measure_set(held, [0]), measure_set(learned)) == []


def test_the_two_sides_of_a_split_by_session_share_nothing(tmp_path: Path) -> None:
    found = written(tmp_path / "set", *(good(k, session=f"day {k // 2}") for k in range(6)))
    learned, held = split_sessions(found, 0.3, seed=0)
    assert find_overlap(measure_set(found, held), measure_set(found, learned)) == []


def test_figures_are_those_of_all_readings_together(tmp_path: Path) -> None:
    sensed = good(1, seconds=2.0, absent={"tip": ["force"]})
    episodes = [good(0, sensors={}), sensed, good(2, seconds=0.5, sensors={}, state=None)]
    found = summarize(ROBOT, measure_set(written(tmp_path / "set", *episodes), images=False))
    actions = np.concatenate([one.actions.values for one in episodes]).astype(np.float64)
    for what, expected in (("least", actions.min(0)), ("mean", actions.mean(0)), ("deviation", actions.std(0))):
        np.testing.assert_allclose(list(found["actions"][what].values()), expected, rtol=1e-9)
    assert found["episodes"] == 3 and found["actions_in_all"] == 70
    tip = found["sensors"]["tip"]
    assert tip["share_of_episodes"] == pytest.approx(1 / 3) and tip["share_of_actions"] == pytest.approx(40 / 70)
    assert tip["absent"] == {"force": pytest.approx(1 / 3), "scan": 0}
    assert found["streams"]["sensor tip"]["measured_hz"] == pytest.approx(100)
    assert found["streams"]["state"]["episodes"] == 2 and found["sessions"] == {"day 0": 1, "day 1": 1, "day 2": 1}
    json.dumps(found, allow_nan=False)


def test_episodes_of_one_action_have_no_rate_and_are_not_resting(tmp_path: Path) -> None:
    short = [good(k, actions=stream(k, 2, stamps(20, 0.05))) for k in range(2)]
    found = written(tmp_path / "set", *short)
    measured = measure_set(found)
    assert find_faults(ROBOT, measured) == []
    assert summarize(ROBOT, measured)["streams"]["actions"]["measured_hz"] is None


def test_stats_prints_and_writes_figures_and_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "train", good(0), good(1))
    written(tmp_path / "val", good(1), good(2, cameras=cameras(wrist=shown(lambda k: 0))))
    command = ["data", "stats", str(tmp_path / "val"), "--against", str(tmp_path / "train")]
    assert main([*command, "--out", str(tmp_path / "val.json")]) == 0
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "val.json").read_text())
    for said in ("2 episodes of small", "sensor tip: in 100.0% of episodes", "are in the other too", "black in 1 of 2"):
        assert said in printed
    assert {"overlap", "camera wrist"} <= {finding["name"] for finding in found["findings"]}
    assert set(found["findings"][0]) == set(asdict(Finding("", "", "")))
    assert main(["data", "stats", str(tmp_path / "train")]) == 0
    assert "nothing found wrong" in capsys.readouterr().out


def test_validate_reads_all_and_fails_where_nothing_can_be_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "good", good(0), good(1))
    assert main(["data", "validate", str(tmp_path / "good")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'good'}: 2 episodes, all whole\n"
    written(tmp_path / "empty", *(good(k, actions=dimensions(0, 0)) for k in range(2)))
    assert main(["data", "validate", str(tmp_path / "empty")]) == 2
    assert "✗ actions" in capsys.readouterr().out


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def nan(path: Path) -> None:
    values = np.load(path)
    values[3] = np.nan
    np.save(path, values)


def numbered(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "session": 5}))


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("sensor.tip.npy", flipped, "episode 000001: is not what its digest says; copy the episode again"),
        ("actions.npy", nan, "episode 000001, actions: is not finite at reading 3"),
        (
            "camera.front.images",
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            "camera front, frame 0: is no",
        ),
        ("state.npy", Path.unlink, "episodes/000001/state.npy: is missing"),
        ("episode.json", numbered, "episodes/000001/episode.json: is damaged (session is no text)"),
    ],
)
def test_a_damaged_episode_is_one_line(
    file: str, spoil: Callable[[Path], Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "set", good(0), good(1), good(2))
    spoil(tmp_path / "set/episodes/000001" / file)
    assert main(["data", "validate", str(tmp_path / "set")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ganglion: {tmp_path / 'set'}: ") and said in line and line.count(str(tmp_path)) == 1


def test_all_damaged_episodes_are_named_at_once(tmp_path: Path) -> None:
    found = written(tmp_path / "set", *(good(k, cameras={}) for k in range(3)))
    for name in ("000000", "000002"):
        flipped(tmp_path / f"set/episodes/{name}/actions.npy")
    with pytest.raises(InputError) as error:
        check_set(EpisodeSet(found.folder))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    "options",
    [
        ("stats", "--task", "chat"),
        ("stats", "--html", "a.html"),
        ("stats", "--base", "offline:qwen2_vl"),
        ("validate", "--task", "chat"),
    ],
)
def test_options_that_mean_nothing_for_a_set_are_refused(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "set", good(0))
    command, *more = options
    assert main(["data", command, str(tmp_path / "set"), *more]) == 2
    assert f"{more[0]} means nothing for a set of episodes; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["stats", "validate"])
def test_a_folder_that_holds_no_set_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", command, str(tmp_path)]) == 2
    assert "holds no episodes; give a folder that data import wrote" in capsys.readouterr().err


def test_real_bridge_episodes_have_no_fault_once_the_black_slot_is_out(shared_data: Path, tmp_path: Path) -> None:
    source, out = shared_data / "bridge_rlds_mini", tmp_path / "out"
    assert main(["data", "import", "rlds", str(source), "--out", str(out), "--rate_hz", "5"]) == 0
    found = EpisodeSet(out)
    assert find_faults(found.robot, measure_set(found)) == []
    assert any("left out: image_3" in note for note in found.source["notes"])

"""Episodes recorded in simulated worlds: what is kept, in which order, at which rates, and how it goes on."""

import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from demonstrations_for_test import episode as any_episode
from demonstrations_for_test import written
from policy_for_test import options as policy_options
from stopping_for_test import stopped
from worlds_for_test import INSERTION, ROBOT, SHORT, always_fails, begin_short, end_of_a_worker, grown, short

from ganglion.core.cli import main
from ganglion.core.errors import GanglionError, InputError
from ganglion.simulation.insertion.case import draw_case, glance
from ganglion.simulation.insertion.world import Insertion
from ganglion.simulation.scenario import get_scenario, scenario_names
from ganglion.training.data.worlds import CASES, world_set
from ganglion.training.demonstrations import growing as growing_module
from ganglion.training.demonstrations.cutting import cut_window, episode_views
from ganglion.training.demonstrations.episode_set import EpisodeSet
from ganglion.training.demonstrations.growing import grow_set
from ganglion.training.demonstrations.integrity import check_set
from ganglion.training.demonstrations.simulated import record
from ganglion.training.locking import lock, open_lock
from ganglion.training.policy.config import VlOptions
from ganglion.training.policy.recorded import RecordedSource

GLANCES = ["data", "synth", "insertion", "--glances", "3", "--cameras", "scene", "--size", "32"]


def everything(folder: Path) -> dict[str, bytes]:
    """All files of a set but the lock, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short insertions; the second of the five cases that this takes fails."""
    return grown(tmp_path_factory.mktemp("worlds") / "four", 4)[0]


# What is kept


def test_the_cases_that_succeed_are_kept_in_order_and_another_takes_the_place_of_a_failure(four: Path) -> None:
    episodes = EpisodeSet(four)
    assert [episodes[k].notes["seed"] for k in range(4)] == [0, 2, 3, 4]
    assert [episodes[k].session for k in range(4)] == ["0", "2", "3", "4"]
    assert [episodes[k].instruction for k in range(4)] == [draw_case(seed).instruction for seed in (0, 2, 3, 4)]
    assert all(episodes[k].notes["outcome"] == {"success": True} for k in range(4))
    assert episodes.source["notes"] == ["1 of 5 attempts failed and were left out"]
    assert episodes.source["world"] == "insertion" and episodes.source["seed"] == 0
    check_set(episodes)


def test_sets_of_different_seeds_have_no_case_in_common(tmp_path: Path) -> None:
    episodes = EpisodeSet(grown(tmp_path / "set", 2, seed=7)[0])
    assert [episodes[k].notes["seed"] for k in range(2)] == [7 * CASES, 7 * CASES + 2]


def test_more_processes_make_the_same_set(four: Path, tmp_path: Path) -> None:
    assert grow_set(tmp_path / "set", short(4), workers=2) == 5
    assert everything(tmp_path / "set") == everything(four)
    assert EpisodeSet(tmp_path / "set").digest() == EpisodeSet(four).digest()


def test_an_expert_who_never_succeeds_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_module, "_HOPELESS", 5)
    with pytest.raises(GanglionError, match="the last 5 attempts failed"):
        grow_set(tmp_path / "set", replace(short(1), make=always_fails))


def test_noise_pushes_the_robot_and_not_what_is_kept_as_the_experts_command(tmp_path: Path) -> None:
    pushed, calm = (EpisodeSet(grown(tmp_path / str(noise), 1, noise=noise)[0])[0] for noise in (True, False))
    assert pushed.state is not None and calm.state is not None
    np.testing.assert_array_equal(pushed.actions.values[0], calm.actions.values[0])
    np.testing.assert_array_equal(pushed.state.values[:11], calm.state.values[:11])
    assert np.abs(pushed.state.values[-1] - calm.state.values[-1]).max() > 0.01
    world = begin_short(0, ROBOT).world
    for command in [np.zeros(7)] * 10 + list(calm.actions.values):
        np.testing.assert_allclose(world.state(), calm.state.values[round(world.time_s * 50)], atol=1e-4)
        world.step(command)


def test_cameras_and_their_size_are_as_asked(four: Path) -> None:
    assert [(c.name, c.height, c.width) for c in EpisodeSet(four).robot.cameras] == [("wrist", 32, 32)]


# Rates, stamps, and what was there when


def test_every_stream_has_its_rate_and_an_action_comes_after_all_that_was_felt_by_then(tmp_path: Path) -> None:
    robot = INSERTION.robot
    scenario = replace(SHORT, robot=robot)
    one = EpisodeSet(grown(tmp_path / "set", 1, scenario=scenario)[0])[0]
    samples, actions, state = one.sensors["tip"], one.actions, one.state
    assert state is not None
    hops = np.arange(55)
    assert samples.stamps_ns.tolist() == [round((k + 1) * 1e9 / 650) for k in range(715)]
    assert state.stamps_ns.tolist() == (hops * 20_000_000).tolist()
    assert actions.stamps_ns.tolist() == (hops[50:] * 20_000_000).tolist()  # at rest there is nothing to imitate
    assert one.cameras["wrist"].stamps_ns.tolist() == [k * 100_000_000 for k in range(11)]
    for number, now_ns in enumerate(actions.stamps_ns):
        window = cut_window(samples, robot.sensors[0], int(now_ns))
        assert window.present.all()
        newest = int(np.searchsorted(samples.stamps_ns, now_ns, side="right")) - 1
        assert newest == 650 + 13 * number - 1 and samples.stamps_ns[newest] <= now_ns
        np.testing.assert_array_equal(window.samples[-1], samples.values[newest])
    # Another world at rest reads the same, sample by sample, before the state and the frame of that time.
    world = Insertion(draw_case(0))
    for hop in range(50):
        np.testing.assert_array_equal(world.state().astype(np.float32), state.values[hop])
        read = world.step(np.zeros(7)).astype(np.float16)
        np.testing.assert_array_equal(read, samples.values[13 * hop : 13 * hop + 13])


class Ending(Insertion):
    """An insertion that is over after a while."""

    @property
    def done(self) -> bool:
        return self.time_s >= 0.3


def test_an_episode_ends_where_its_world_does() -> None:
    world = Ending(draw_case(0), ROBOT)
    one = record(world, lambda: np.ones(7), seconds=1.0, instruction="", session="", rest_s=0.2)
    world.close()
    assert one.actions.stamps_ns.tolist() == [200_000_000, 220_000_000, 240_000_000, 260_000_000, 280_000_000]
    assert len(one.sensors["tip"].stamps_ns) == 195 and len(one.cameras["wrist"].encoded) == 3


# Glances


@pytest.fixture(scope="module")
def glances(tmp_path_factory: pytest.TempPathFactory) -> EpisodeSet:
    """Three glances at each of two scenes."""
    return EpisodeSet(grown(tmp_path_factory.mktemp("worlds") / "glances", 2, glances=3)[0])


def test_glances_are_short_and_have_no_sensor(glances: EpisodeSet) -> None:
    assert len(glances) == 6 and glances.robot.sensors == ()
    for number in range(6):
        one = glances[number]
        assert not one.sensors and len(one.actions.stamps_ns) == 12
        assert one.cameras["wrist"].stamps_ns.tolist() == [0, 100_000_000, 200_000_000]
        assert len(episode_views(one, glances.robot).stamps_ns) == 3


def test_glances_at_one_scene_are_a_session_with_other_marks_layers_and_starts(glances: EpisodeSet) -> None:
    for seed in (0, 1):
        looks = [glances[3 * seed + number] for number in range(3)]
        assert {one.session for one in looks} == {str(seed)}
        assert len({one.instruction for one in looks}) == 3
        for number, one in enumerate(looks):
            case = glance(draw_case(seed), number)
            assert one.instruction == case.instruction and one.notes["glance"] == number
            assert one.state is not None
            np.testing.assert_allclose(one.state.values[0], case.start, atol=1e-4)


def test_policies_learn_from_whole_episodes_and_glances_together(
    four: Path, glances: EpisodeSet, tmp_path: Path
) -> None:
    """Read as training reads them: as many moments with the sensor as there are actions in whole episodes."""
    both = [str(four), str(glances.folder)]
    config = policy_options(
        four, tmp_path, data=both, test_share=0.0, validation_share=0.0, batch_size=92, vl=VlOptions(age_ms=(0, 0))
    )
    source = RecordedSource(config)
    assert source.facts["moments"] == {"train": 4 * 5 + 6 * 12, "with_sensor": 4 * 5}
    batch = source.batch(0)
    assert batch.felt.sum() == 20 and batch.samples.shape == (20, 130, 1026)
    assert source.robot.sensors == ROBOT.sensors and source.robot.state == ROBOT.state


# Going on


def test_a_set_goes_on_to_a_larger_count_as_if_it_had_been_asked_for_at_once(four: Path, tmp_path: Path) -> None:
    out, attempts = grown(tmp_path / "set", 1)
    assert attempts == 1 and len(EpisodeSet(out)) == 1
    before = (out / "episodes/000000/sensor.tip.npy").stat().st_mtime_ns
    assert grown(out, 4)[1] == 5
    assert everything(out) == everything(four)
    assert (out / "episodes/000000/sensor.tip.npy").stat().st_mtime_ns == before


def group_lives(group: int) -> bool:
    """Whether any process of a group is there that is more than a zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


FIVE = [*GLANCES, "--count", "5", "--out"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three glances at each of five scenes."""
    out = tmp_path_factory.mktemp("worlds") / "five"
    assert main([*FIVE, str(out), "--workers", "1"]) == 0
    return out


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_stopped_and_given_again_it_goes_on_to_the_very_same_set(how: int, uninterrupted: Path, tmp_path: Path) -> None:
    out, group_file = tmp_path / "out", tmp_path / "group"
    code = (
        f"import os, sys; os.setsid(); open({str(group_file)!r}, 'w').write(str(os.getpid()))\n"
        "from ganglion.core.cli import main\n"
        "if __name__ == '__main__': sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *FIVE, str(out), "--workers", "2"]
    ended, said = stopped(command, out, "episodes/000001", [how])
    assert 2 <= len(list((out / "episodes").glob("[0-9]*"))) < 15, "it ended before it could be stopped"
    if how == signal.SIGINT:
        assert ended == 1 and said[-1] == "ganglion: interrupted; run the same command again to go on"
    group = int(group_file.read_text())
    deadline = time.monotonic() + 60
    while group_lives(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_lives(group), "processes are left that make episodes for nobody"
    (out / "episodes/.000009.left").mkdir()
    assert main([*FIVE, str(out), "--workers", "1"]) == 0
    assert everything(out) == everything(uninterrupted)


def test_a_worker_that_dies_is_one_line_and_the_set_goes_on(four: Path, tmp_path: Path) -> None:
    dying = replace(short(4), make=end_of_a_worker)
    with pytest.raises(GanglionError, match=r"a process .* was ended from outside; run the same command again"):
        grow_set(tmp_path / "set", dying, workers=2)
    grow_set(tmp_path / "set", dying)
    assert everything(tmp_path / "set") == everything(four)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become larger than that."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_one_line_and_nothing_that_is_there_is_lost(four: Path, tmp_path: Path) -> None:
    out, _ = grown(tmp_path / "set", 2)
    whole = {name: held for name, held in everything(out).items() if name.startswith("episodes")}
    with room_for(300_000), pytest.raises(GanglionError, match=r"000002: can't write: File too large; free space"):
        grown(out, 4)
    assert {name: held for name, held in everything(out).items() if name.startswith("episodes")} == whole
    assert grown(out, 4)[1] == 5
    assert everything(out) == everything(four)


# What is refused


def test_another_set_in_the_folder_is_refused_and_named(four: Path, tmp_path: Path) -> None:
    before = everything(four)
    for options, named in (
        ({"seed": 3}, r"seed \(0, now 3\)"),
        ({"noise": False}, r"noise \(true, now false\)"),
        ({"cameras": ["scene", "wrist"]}, "cameras"),
        ({"glances": 2}, r"glances \(null, now 2\)"),
        ({"size": 48}, r"size \(32, now 48\)"),
        ({"scenario": replace(SHORT, robot=replace(ROBOT, name="other"))}, "robot.name"),
    ):
        with pytest.raises(InputError, match=f"four: holds a set made with another {named}.*; .*--force"):
            grow_set(four, short(4, **options))
    with pytest.raises(InputError, match="holds 4 episodes, 3 are asked for"):
        grow_set(four, short(3))
    assert everything(four) == before


def test_forced_it_starts_anew_but_never_over_episodes_from_elsewhere(tmp_path: Path) -> None:
    out, _ = grown(tmp_path / "set", 2)
    grow_set(out, short(1, seed=3), force=True)
    assert [EpisodeSet(out)[k].notes["seed"] for k in range(len(EpisodeSet(out)))] == [3 * CASES]
    written(tmp_path / "real", any_episode())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    before = everything(tmp_path / "real") | everything(tmp_path / "thesis")
    for folder, named in (("real", "holds episodes from elsewhere"), ("thesis", "holds something other")):
        with pytest.raises(InputError, match=f"{folder}: {named}.*; choose another --out"):
            grow_set(tmp_path / folder, short(1), force=True)
    assert everything(tmp_path / "real") | everything(tmp_path / "thesis") == before


def test_two_runs_do_not_fill_one_folder(tmp_path: Path) -> None:
    with open_lock(tmp_path / "set") as other:
        lock(other)
        with pytest.raises(InputError, match="set: is being filled by another run; wait for it, or stop it"):
            grown(tmp_path / "set", 1)


def test_a_set_with_a_hole_is_not_gone_on_with(tmp_path: Path) -> None:
    out, _ = grown(tmp_path / "set", 3)
    os.rename(out / "episodes/000001", tmp_path / "taken")
    with pytest.raises(InputError, match="lacks an episode in between"):
        grown(out, 4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--count", "0"], "--count is 0; give 1 or more"),
        (["--count", "500000", "--glances", "2"], "1000000 episodes are asked for; a set has less than 1000000"),
        (["--seed", "-1"], "--seed is -1"),
        (["--workers", "0"], "--workers is 0"),
        (["--glances", "0"], "--glances is 0"),
        (["--size", "449"], "--size is 449; give 16 to 448"),
        (["--cameras", "top"], "insertion has no camera 'top'; give --cameras some of wrist, scene"),
        (["--cameras", '["wrist", "top"]'], "insertion has no camera 'top'"),
        (["--video", "x.avi"], "--video is 'x.avi'; give a file that ends with .mp4 or .gif"),
        (["--plot", "x.jpg"], "--plot is 'x.jpg'; give a file that ends with .png"),
        (["--clean"], "--clean is no option of insertion"),
    ],
)
def test_a_bad_option_is_named_in_one_line(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", "insertion", "--out", str(tmp_path / "set"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line and not (tmp_path / "set").exists()


# As a command


def test_the_command_records_shows_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, video, plot = tmp_path / "set", tmp_path / "first.gif", tmp_path / "first.png"
    shown = ["--workers", "1", "--video", str(video), "--plot", str(plot)]
    assert main([*GLANCES, "--count", "1", "--out", str(out), *shown]) == 0
    assert capsys.readouterr().out == f"3 episodes of insertion in {out}\n"
    assert video.read_bytes()[:4] == b"GIF8" and plot.read_bytes()[1:4] == b"PNG"
    assert main(["data", "validate", str(out)]) == 0
    assert main(["data", "stats", str(out), "--out", str(tmp_path / "stats.json")]) == 0
    assert json.loads((tmp_path / "stats.json").read_text())["sessions"] == {"0": 3}


def test_the_help_names_every_world_and_what_its_options_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name in scenario_names():
        assert name in re.findall(r" task Task to make data for: (.*?)--out ", said)[0]
        for option in world_set(name).defaults:
            if option == "glances" and get_scenario(name).glance is None:
                continue  # refused there
            (told,) = re.findall(rf" --{option} [A-Z{{].*?(?= --[a-z_]+ |$)", said.partition("Options of")[2])
            assert name in told, option


@pytest.mark.slow
def test_whole_episodes_of_the_command_end_in_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert main(["data", "synth", "insertion", "--out", str(out), "--count", "2", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"2 episodes of insertion in {out}; in 0 of 2 cases the expert failed")
    episodes = EpisodeSet(out)
    for number in range(2):
        one = episodes[number]
        assert len(one.actions.stamps_ns) == 300 and len(one.sensors["tip"].stamps_ns) == 7 * 650
        assert {name: len(frames.encoded) for name, frames in one.cameras.items()} == {"wrist": 70, "scene": 70}
        outcome = one.notes["outcome"]
        case = draw_case(number)
        assert outcome["success"] and outcome["mark"] == case.chosen and outcome["layer"] == case.layer

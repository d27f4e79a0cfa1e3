"""Episodes to look at: each frame in its time in a video, each reading in its panel of a plot."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from demonstrations_for_test import ROBOT, encoded, episode, stamps, stream, written
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from ganglion.core.cli import main
from ganglion.core.errors import GanglionError, InputError
from ganglion.core.specs import ChannelGroup, SensorSpec
from ganglion.training.demonstrations import video as video_module
from ganglion.training.demonstrations.episode import CameraStream, Episode
from ganglion.training.demonstrations.plot import draw, write_plot
from ganglion.training.demonstrations.video import write_video

FRONT_S, WRIST_S = 0.003 + np.arange(30) / 30, 0.001 + np.arange(10) / 10


def gray(level: int) -> bytes:
    return encoded(np.full((12, 16, 3), level, np.uint8), "PNG")


def graded(seconds_lost: float = 0.0) -> Episode:
    """Frame k of "front" is as bright as 8 k, of "wrist" as 20 k + 5; a while may be lost after frame 20 of "front"."""
    late = np.rint(np.where(np.arange(30) > 20, seconds_lost, 0) * 1e9).astype(np.int64)
    cameras = {
        "front": CameraStream(stamps(30, 1.0, 0.003) + late, [gray(8 * k) for k in range(30)]),
        "wrist": CameraStream(stamps(10, 1.0, 0.001), [gray(20 * k + 5) for k in range(10)]),
    }
    return episode(cameras=cameras)


def pictures_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Seconds into an .mp4 at which each picture is shown, and the pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def levels(picture: np.ndarray) -> tuple[float, float]:
    """How bright the middles of the two panels are; each panel is 299 wide and 224 high, below a line of 18 pixels."""
    return float(picture[80:180, 100:200].mean()), float(picture[80:180, 400:500].mean())


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_a_video_shows_each_frame_of_the_fastest_camera_beside_the_newest_of_the_others(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "_ENCODERS", {encoder: video_module._ENCODERS[encoder]})
    write_video(graded(), ROBOT, tmp_path / "a.mp4", "it")
    times, shown = pictures_of(tmp_path / "a.mp4")
    np.testing.assert_allclose(times, np.arange(30) / 30, atol=1e-4)
    assert shown[0].shape == (224 + 3 * 18, 598, 3)
    for k, picture in enumerate(shown):
        newest = int(np.flatnonzero(FRONT_S[k] >= WRIST_S)[-1])
        assert levels(picture) == pytest.approx((8 * k, 20 * newest + 5), abs=4)


def test_a_video_says_the_camera_the_time_and_the_goal(tmp_path: Path) -> None:
    write_video(graded(), ROBOT, tmp_path / "a.mp4", "it")
    _, shown = pictures_of(tmp_path / "a.mp4")
    names, time, goal = slice(0, 18), slice(242, 260), slice(260, 278)
    assert (shown[0][names, :299].max(), shown[0][names, 299:].max()) > (200, 200)
    assert shown[0][time].max() > 200 and shown[0][goal].max() > 200
    assert np.abs(shown[0][time].astype(int) - shown[15][time]).max() > 100  # the time goes on
    assert np.abs(shown[0][goal].astype(int) - shown[15][goal]).max() < 50


def test_what_was_lost_stays_a_gap_in_the_video(tmp_path: Path) -> None:
    write_video(graded(seconds_lost=2.0), ROBOT, tmp_path / "a.mp4", "it")
    times, _ = pictures_of(tmp_path / "a.mp4")
    assert len(times) == 30 and times[21] - times[20] == pytest.approx(2 + 1 / 30, abs=1e-4)


def test_a_gif_has_every_picture_and_lasts_as_long_as_it_took(tmp_path: Path) -> None:
    write_video(graded(), ROBOT, tmp_path / "a.gif", "it")
    with Image.open(tmp_path / "a.gif") as opened:
        shown = [(frame.info["duration"], np.asarray(frame.convert("RGB"))) for frame in ImageSequence.Iterator(opened)]
    assert len(shown) == 30 and {lasts for lasts, _ in shown} == {30, 40}  # ms; GIF counts in hundredths of a second
    assert sum(lasts for lasts, _ in shown) == 1000
    assert [levels(picture)[0] for _, picture in shown] == pytest.approx([8 * k for k in range(30)], abs=8)


def test_a_camera_that_has_not_seen_anything_yet_is_black(tmp_path: Path) -> None:
    whole = graded()
    late = replace(whole.cameras["wrist"], stamps_ns=whole.cameras["wrist"].stamps_ns + 500_000_000)
    write_video(replace(whole, cameras={**whole.cameras, "wrist": late}), ROBOT, tmp_path / "a.mp4", "it")
    _, shown = pictures_of(tmp_path / "a.mp4")
    assert levels(shown[14])[1] < 3 and levels(shown[29])[1] == pytest.approx(20 * 4 + 5, abs=4)


def test_a_long_goal_is_wrapped_and_an_odd_size_made_even(tmp_path: Path) -> None:
    one = replace(graded(), instruction="go on " * 200, cameras={"wrist": graded().cameras["wrist"]})
    write_video(one, ROBOT, tmp_path / "a.mp4", "it")
    _, shown = pictures_of(tmp_path / "a.mp4")
    assert len(shown) == 10 and shown[0].shape == (224 + 5 * 18, 300, 3)


def test_without_a_frame_or_an_encoder_there_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="it: has no camera to make a video of; leave --video out"):
        write_video(episode(cameras={}), ROBOT, tmp_path / "a.mp4", "it")
    monkeypatch.setattr(video_module, "_ENCODERS", {"nothing": {}})
    with pytest.raises(GanglionError, match=r"PyAV has neither nothing; write a \.gif"):
        write_video(graded(), ROBOT, tmp_path / "a.mp4", "it")
    assert not list(tmp_path.iterdir())


# Plots


def panels(figure: Figure) -> dict[str, object]:
    """What each panel is labeled with."""
    return {area.get_ylabel(): area for area in figure.axes if area.get_ylabel() and not hasattr(area, "_colorbar")}


def test_a_plot_has_a_panel_for_each_unit_with_the_readings_in_their_times() -> None:
    robot = replace(ROBOT, actions=replace(ROBOT.actions, units=("m/s", "rad/s")))
    one = episode(absent={})
    found = panels(draw(one, robot, "it"))
    assert list(found) == ["tip: force\nN", "tip: scan\ndB", "state\nrad", "actions\nm/s", "actions\nrad/s"]
    (x,) = found["actions\nm/s"].lines
    np.testing.assert_array_equal(x.get_ydata(), one.actions.values[:, 0])
    np.testing.assert_allclose(x.get_xdata(), np.arange(20) / 20)
    assert [line.get_label() for line in found["state\nrad"].lines] == ["q", "r", "s"]
    scan = np.stack([line.get_ydata() for line in found["tip: scan\ndB"].lines])
    np.testing.assert_array_equal(scan, one.sensors["tip"].values[:, 1:].T)


def test_what_an_episode_lacks_has_no_panel() -> None:
    assert "tip: force\nN" not in panels(draw(episode(), ROBOT, "it"))  # absent
    bare = episode(sensors={}, state=None, cameras={}, absent={})
    assert list(panels(draw(bare, ROBOT, "it"))) == ["actions\nm/s"]


def test_many_channels_are_an_image_with_its_unit_in_which_gaps_stay_empty() -> None:
    wide = SensorSpec("tip", (ChannelGroup("scan", 40, "dB"),), 100.0, hop_samples=5, window_samples=20)
    at = stamps(100, 1.0)
    at[60:] += 1_000_000_000
    one = episode(sensors={"tip": stream(1, 40, at)}, absent={})
    figure = draw(one, replace(ROBOT, sensors=(wide,)), "it")
    (image,) = panels(figure)["tip: scan\nchannel"].images
    left, right, bottom, top = image.get_extent()
    assert (left, bottom, top) == (0, 40, 0) and right == pytest.approx(1.99)
    shown = np.ma.getdata(image.get_array())
    seconds = np.linspace(0, 1.99, shown.shape[1])
    np.testing.assert_array_equal(np.isnan(shown).all(axis=0), (seconds > 0.605) & (seconds < 1.6))
    np.testing.assert_array_equal(shown[:, 0], one.sensors["tip"].values[0])
    np.testing.assert_array_equal(shown[:, -1], one.sensors["tip"].values[-1])
    assert "dB" in [area.get_ylabel() for area in figure.axes]


def test_a_long_recording_is_drawn_from_readings_spread_over_it() -> None:
    one = episode(actions=stream(0, 2, stamps(1000, 100.0)), sensors={}, state=None)
    (line, _) = panels(draw(one, ROBOT, "it"))["actions\nm/s"].lines
    assert len(line.get_xdata()) == 20_000 and line.get_xdata()[-1] == pytest.approx(99.995)


def test_a_plot_is_a_png_that_shows_something(tmp_path: Path) -> None:
    write_plot(episode(instruction="cost: 5 $ or 6 $"), ROBOT, tmp_path / "a.png", "it")
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.format == "PNG" and opened.width == 1000 and opened.height > 400
        assert len(np.unique(np.asarray(opened.convert("RGB")).reshape(-1, 3), axis=0)) > 50


# The command


def test_the_command_says_what_an_episode_holds_and_writes_what_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "set", episode(0), replace(graded(), session="tuesday"))
    video, plot = tmp_path / "out/a.mp4", tmp_path / "out/a.png"
    command = ["data", "show", str(tmp_path / "set"), "--episode", "1"]
    assert main([*command, "--video", str(video), "--plot", str(plot)]) == 0
    said = capsys.readouterr().out
    assert "episode 000001, session tuesday" in said and "instruction: touch the peak" in said
    assert "camera front" in said and f"written: {video}\nwritten: {plot}\n" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "a.png"]
    with av.open(str(video)) as container:
        assert container.streams.video[0].average_rate == Fraction(30)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--episode", "2"], "set: has no episode 2; give --episode 0 to 0"),
        (["--episode", "-1"], "set: has no episode -1; give --episode 0 to 0"),
        (["--video", "a.mov"], "--video is 'a.mov'; give a file that ends with .mp4 or .gif"),
        (["--plot", "a"], "--plot is 'a'; give a file that ends with .png"),
        (["--video", "a.gif"], "set: episode 000000: has no camera to make a video of"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "set", episode(cameras={}))
    assert main(["data", "show", str(tmp_path / "set"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line and [path.name for path in tmp_path.iterdir()] == ["set"]

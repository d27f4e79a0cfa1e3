"""A simulated robot in real time and in closed loop: one world for samples, frames and commands.

    with WorldLink.create("insertion", seed=1) as link:
        sink = LimitingSink(link.robot.actions, WorldActuator(link))
        Bridge(link.robot, link.samples, client, sink, cameras=link.cameras).run(seconds=6)
        print(judge(link.replayed()))

The world is stepped in the acquisition process, hop by hop, when a hop's first sample is due: with the newest command
decided by then. So what is commanded during a hop acts from the next hop on, at most 20 ms later, and no sample knows
of a command that came after it. The last command stays in force; before the first one the world is told to rest.

Frames are rendered in the bridge's process, in threads of their own, from the pose at the newest hop boundary by the
time of exposure. No sample waits for one.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ganglion.core.limits import Limits
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.link import DrivenHop, WorldLink
from ganglion.robot_bridge.sink import Action
from ganglion.robot_bridge.source import EndOfSamples

if TYPE_CHECKING:
    from ganglion.simulation.world import World


class WorldActuator:
    """Commands for a linked world, an `Actuator`."""

    def __init__(self, link: WorldLink) -> None:
        self._link = link

    def command(self, action: Action, stamp_ns: int) -> None:
        """Apply (dim,) values from the first hop on that begins at or after `stamp_ns` (monotonic)."""
        self._link.command(action, stamp_ns)


class WorldSamples:
    """The sensor of a linked world, and what steps that world: a `SampleSource` for the acquisition process.

    Raises:
        InputError: there is no such link, or the robot is not one that its world can be.
        GanglionError: another process steps the world.
    """

    def __init__(self, robot: RobotSpec, link: str) -> None:
        self._link = WorldLink.attach(link, robot)
        try:
            self._world = self._link.open_world()
            rest = Limits.of(robot.actions).at_rest(np.zeros(robot.actions.dim))
            self._driven = DrivenHop(rest, 0, self._world.pose())
            self._opened_ns = time.monotonic_ns()  # what was commanded before was meant for an earlier run
            self._link.begin(self._driven)
        except BaseException:
            self._link.close()
            raise
        self._hop_samples = robot.sensors[0].hop_samples
        self._block: npt.NDArray[np.float32] = np.empty((0, robot.sensors[0].channels), np.float32)

    def read(self, seq: int, due_ns: int, into: npt.NDArray[np.floating]) -> int | None:
        """Sample `seq`, stamped with the time it was due; they are asked for in order.

        Raises:
            EndOfSamples: the episode is over.
        """
        row = seq % self._hop_samples
        if row == 0:
            self._block = self._step(due_ns)
        into[:] = self._block[row]
        return due_ns

    def close(self) -> None:
        """Let go of the world and the link."""
        self._world.close()
        self._link.close()

    def _step(self, due_ns: int) -> npt.NDArray[np.float32]:
        if self._world.done:
            raise EndOfSamples(
                f"the episode is over after {self._world.time_s:g} s",
                where=f"world {self._link.world}, seed {self._link.seed}",
            )
        found = self._link.command_at(due_ns)
        command_ns, action = self._driven.command_ns, self._driven.action
        if found and found[0] >= self._opened_ns:
            command_ns, action = found
        samples = self._world.step(action)
        self._driven = DrivenHop(action, command_ns, self._world.pose())
        self._link.went_on(self._driven)
        return samples


class WorldFrames:
    """A camera of a linked world, a `FrameSource`, with a world to look at and a thread to render in of its own.

    OpenGL knows its contexts by thread, while a source may be made, used and closed by several.

    Raises:
        InputError: there is no such link, or the robot or its camera does not fit its world.
        GanglionError: nothing can be rendered on this machine.
    """

    def __init__(self, robot: RobotSpec, link: str, camera: str) -> None:
        self._link, self._camera = WorldLink.attach(link, robot), camera
        self._thread = ThreadPoolExecutor(1, f"render-{camera}")
        try:
            self._world = self._thread.submit(self._open).result()
        except BaseException:
            self._leave()
            raise

    def frame(self, time_s: float) -> npt.NDArray[np.uint8]:
        """What the camera saw `time_s` seconds after sample 0, (height, width, 3) RGB; at most a hop older."""
        return self._thread.submit(self._render, time_s).result()

    def close(self) -> None:
        """Let go of the renderer and the link."""
        self._thread.submit(self._world.close).result()
        self._leave()

    def _open(self) -> World:
        world = self._link.open_world()
        world.frame(self._camera)  # the first one takes longest, and says whether there will be any
        return world

    def _render(self, time_s: float) -> npt.NDArray[np.uint8]:
        self._world.show(self._link.pose(time_s))
        return self._world.frame(self._camera)

    def _leave(self) -> None:
        self._thread.shutdown()
        self._link.close()

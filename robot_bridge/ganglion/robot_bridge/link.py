"""What ties one simulated world together across processes: commands one way, what came of them the other.

    acquisition process                     bridge's process
    WorldSamples: steps the world    <──    WorldActuator: commands with their stamps
                                     ──>    WorldFrames: the pose after each hop, to render

In shared memory, under a name that travels in the sources' arguments. World and seed are written there too, so the two
sides can't disagree about them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from ganglion.core.errors import GanglionError, InputError
from ganglion.core.specs import RobotSpec
from ganglion.robot_bridge.rows import Floats, Rows
from ganglion.robot_bridge.segment import SHM, Segment, remove_abandoned
from ganglion.robot_bridge.source import SourceName
from ganglion.robot_bridge.worlds import open_world

if TYPE_CHECKING:
    from ganglion.simulation.world import World

_HEADER_BYTES = 256
_COMMANDS = 256  # kept: 5 s at 50 Hz, far longer than a hop waits for its turn


@dataclass(frozen=True)
class DrivenHop:
    """What a world did in one hop.

    action      (dim,) that it was told
    command_ns  monotonic stamp of the command that this was; 0: none had come, and it was told to rest
    pose        (n,) at the hop's end, see `World.pose`
    """

    action: Floats
    command_ns: int
    pose: Floats


class WorldLink:
    """One simulated robot in real time: `samples` and `cameras` for a `Bridge`, and a `WorldActuator` for its sink.

    `create` makes it and its `with` removes it; `attach` opens it by name. Several runs may follow each other on one
    link, each with a fresh world.
    """

    def __init__(self, segment: Segment, robot: RobotSpec) -> None:
        self.name, self.robot, self._segment = segment.name, robot, segment
        memory = segment.memory
        try:
            about = json.loads(memory[:_HEADER_BYTES])
            self.world: str = about["world"]
            self.seed: int = about["seed"]
            self._action_dim, pose_dim = int(about["action_dim"]), int(about["pose_dim"])
            self._commands = Rows(memory, _HEADER_BYTES, _COMMANDS, self._action_dim)
            start = _HEADER_BYTES + Rows.size(_COMMANDS, self._action_dim)
            self._hops = Rows(memory, start, int(about["hops"]), self._action_dim + pose_dim)
        except (ValueError, KeyError, TypeError):
            raise GanglionError("is no world's link", where=SHM / self.name, remedy="create another") from None

    @classmethod
    def create(cls, world: str, seed: int, robot: RobotSpec | None = None, *, history_s: float = 120.0) -> WorldLink:
        """A link to a world that goes on while a bridge runs.

        Args:
            world: the name of a scenario.
            seed: of its case.
            robot: what drives it; the world's own if None. See `open_world`.
            history_s: how much of what it did is kept.

        Raises:
            InputError: as `open_world`.
            GanglionError: shared memory is full.
        """
        remove_abandoned()
        opened = open_world(world, seed, robot)
        robot, pose_dim = robot or opened.robot, len(opened.pose())
        opened.close()
        dim, hops = robot.actions.dim, max(2, round(1e3 * history_s / robot.sensors[0].hop_ms))
        about = {"world": world, "seed": seed, "action_dim": dim, "pose_dim": pose_dim, "hops": hops}
        begin = json.dumps(about).encode().ljust(_HEADER_BYTES)
        size = _HEADER_BYTES + Rows.size(_COMMANDS, dim) + Rows.size(hops, dim + pose_dim)
        return cls(Segment.create("world", size, lambda: begin, f"{history_s:g} s of a world"), robot)

    @classmethod
    def attach(cls, name: str, robot: RobotSpec) -> WorldLink:
        """Open an existing link.

        Raises:
            InputError: there is none of that name.
            GanglionError: it is something else.
        """
        if not name.startswith("ganglion-world-") or not (SHM / name).exists():
            raise InputError("there is no such link", where=f"world link {name}", remedy="keep WorldLink.create open")
        return cls(Segment.attach(name), robot)

    @property
    def samples(self) -> SourceName:
        """The world's sensor, and what steps the world."""
        return SourceName("ganglion.robot_bridge.live:WorldSamples", {"link": self.name})

    @property
    def cameras(self) -> dict[str, SourceName]:
        """The robot's cameras."""
        frames = "ganglion.robot_bridge.live:WorldFrames"
        return {c.name: SourceName(frames, {"link": self.name, "camera": c.name}) for c in self.robot.cameras}

    def open_world(self) -> World:
        """A world of the same case, at its beginning.

        Raises:
            InputError: the robot is not one that it can be.
        """
        return open_world(self.world, self.seed, self.robot)

    def command(self, action: Floats, stamp_ns: int) -> None:
        """Tell the world what to do, (dim,), decided at monotonic time `stamp_ns`; for one thread."""
        self._commands.append(stamp_ns, action)

    def command_at(self, time_ns: int) -> tuple[int, Floats] | None:
        """Stamp and values (dim,) of the newest command that was decided by then; None if none is kept."""
        newest = self._commands.count - 1
        for number in range(newest, newest - self._commands.capacity, -1):
            found = self._commands.read(number)
            if found is None or found[0] <= time_ns:
                return found
        return None

    def begin(self, hop: DrivenHop) -> None:
        """Become the one who steps the world; `hop` is its beginning, with no action in it yet.

        Raises:
            GanglionError: another process is that one.
        """
        if not self._segment.claim():
            raise GanglionError(
                "is driven by another bridge", where=f"world link {self.name}", remedy="create one for each"
            )
        self._hops.clear()
        self.went_on(hop)

    def went_on(self, hop: DrivenHop) -> None:
        """Tell what the world did in a hop; for the one who steps it."""
        self._hops.append(hop.command_ns, hop.action, hop.pose)

    @property
    def hops_driven(self) -> int:
        """How many hops the world has gone on for; -1 before it has begun."""
        return self._hops.count - 1

    def hop(self, number: int) -> DrivenHop | None:
        """What the world did in hop `number`, counted from 1; 0 is its beginning. None if that is not kept."""
        found = self._hops.read(number)
        if found is None:
            return None
        command_ns, values = found
        return DrivenHop(values[: self._action_dim], command_ns, values[self._action_dim :])

    def pose(self, time_s: float) -> Floats:
        """The newest pose at a time after sample 0, (n,); of those that there are, the nearest.

        Raises:
            GanglionError: nothing steps the world.
        """
        sensor = self.robot.sensors[0]
        # After n hops the world stands where the last sample of hop n felt it.
        wanted = int((time_s * sensor.rate_hz + 1) / sensor.hop_samples + 1e-6)
        while (newest := self.hops_driven) >= 0:
            number = min(max(wanted, newest - self._hops.capacity + 2), newest)
            if found := self.hop(number):
                return found.pose
        raise GanglionError("nothing drives it", where=f"world link {self.name}", remedy="give the bridge link.samples")

    def replayed(self) -> World:
        """A world of the same case that did what this one did, to judge it by: equal to it to the bit.

        Raises:
            GanglionError: its beginning is not kept any more.
        """
        world = self.open_world()
        for number in range(1, self.hops_driven + 1):
            hop = self.hop(number)
            if hop is None:
                raise GanglionError(
                    "its beginning is forgotten", where=f"world link {self.name}", remedy="give it a longer history_s"
                )
            world.step(hop.action)
        return world

    def unlink(self) -> None:
        """Remove the name; the memory goes with the last process that maps it. Harmless when called twice."""
        self._segment.unlink()

    def close(self) -> None:
        """Let go of it. Harmless when called twice."""
        self._segment.close()

    def __enter__(self) -> WorldLink:
        """Give the link."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self.unlink()
        self.close()

"""A bridge process in closed loop for the tests to end: python drive_for_test.py SEED; it prints its link's name."""

import sys

import numpy as np

from ganglion.core.errors import GanglionError
from ganglion.core.messages import Reply
from ganglion.robot_bridge.bridge import Bridge
from ganglion.robot_bridge.link import WorldLink
from ganglion.robot_bridge.live import WorldActuator
from ganglion.robot_bridge.sink import LimitingSink


class Still:
    """Wants the robot to stay where it is."""

    def set_instruction(self, instruction):
        pass

    def send_frame(self, frame):
        pass

    def send_hop(self, hop):
        last = hop.first_seq + len(hop.samples) - 1
        return Reply(np.zeros((8, 7), np.float32), last, hop.stamp_ns, ready=True, vl_age_ms=None)

    def close(self):
        pass


def main(seed: int) -> int:
    try:
        with WorldLink.create("insertion", seed) as link:
            sink = LimitingSink(link.robot.actions, WorldActuator(link))
            bridge = Bridge(link.robot, link.samples, Still(), sink, cameras=link.cameras)
            bridge.run(60, on_reply=lambda reply: print(link.name, flush=True))
    except GanglionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

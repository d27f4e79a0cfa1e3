"""A bridge process for the tests to end: python serve_for_test.py REPORT.json SECONDS SOURCE_ARGUMENTS [stuck]"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from ganglion.core.errors import GanglionError
from ganglion.core.messages import Reply
from ganglion.core.specs import default_robot
from ganglion.robot_bridge.bridge import Bridge
from ganglion.robot_bridge.source import SourceName


class Echo:
    """Answers each hop with a chunk of zeros; from the fifth on, not at all if it is to get stuck."""

    def __init__(self, stuck):
        self.stuck, self.hops = stuck, 0

    def set_instruction(self, instruction):
        pass

    def send_frame(self, frame):
        pass

    def send_hop(self, hop):
        self.hops += 1
        if self.stuck and self.hops > 4:
            print("stuck", flush=True)
            time.sleep(1000)
        last = hop.first_seq + len(hop.samples) - 1
        return Reply(np.zeros((8, 7), np.float32), last, hop.stamp_ns, ready=True, vl_age_ms=None)

    def close(self):
        pass


def main(out: Path, seconds: float, arguments: str, stuck: bool) -> int:
    source = SourceName("ganglion.robot_bridge.counting:CountingSource", json.loads(arguments))
    try:
        report = Bridge(default_robot(), source, Echo(stuck)).run(
            seconds, on_reply=lambda reply: print("hop", flush=True)
        )
    except GanglionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    out.write_text(json.dumps(report.to_dict(), allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], len(sys.argv) > 4))

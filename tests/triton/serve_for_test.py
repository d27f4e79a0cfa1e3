"""`ganglion serve` as a user runs it: a process that says where it listens, until it is told to end."""

import re
import signal
import subprocess
import sys
from pathlib import Path

WAIT_S = 60


class ServeCommand:
    """The command, started.

    Args:
        arguments: after `ganglion serve`.
        lines: that it prints once it serves; the first begins with the model's name.
    """

    def __init__(self, arguments, lines):
        self.command, self.lines = [sys.executable, "-m", "ganglion.core.cli", "serve", *arguments], lines
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = [self.process.stdout.readline() for _ in range(self.lines)]
        assert re.match(r"(policy|vlm) +(grpc|http)://", self.said[0]), [*self.said, self.process.stdout.read()]

    @property
    def server_pid(self):
        (found,) = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "tritonserver"], capture_output=True, text=True
        ).stdout.split()
        return int(found)

    def shared_memory(self):
        """What the server shares with the processes of its models."""
        command = Path(f"/proc/{self.server_pid}/cmdline").read_text()
        (name,) = re.findall(r"shm-region-prefix-name=(\w+)", command)
        return [*Path("/dev/shm").glob(f"{name}*")]

    def stop(self):
        """End it as a service manager would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

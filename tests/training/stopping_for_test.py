"""What tests of interrupted commands share."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def stopped(command: Sequence[str], folder: Path, sign: str, signals: Sequence[int]) -> tuple[int, list[str]]:
    """Run a command until a file like `sign` is in the folder, then send signals; its code, and what it said."""
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob(sign)):
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    for one in signals:
        running.send_signal(one)
    _, said = running.communicate(timeout=60)
    return running.returncode, said.splitlines()

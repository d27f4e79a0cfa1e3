"""The stage runner, with real child processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ganglion.core.errors import GanglionError
from ganglion.demo.quickstart.stages import Stage, run_stages


def write(path, text="x"):
    return ("-c", f"import pathlib; pathlib.Path({str(path)!r}).write_text({text!r})")


def run(stages, folder, known=frozenset()):
    finished = []
    run_stages(stages, folder / "logs", 2, known, lambda name, seconds: finished.append(name))
    return finished


def test_a_stage_waits_for_what_it_needs(tmp_path):
    first = Stage("first", ("-c", f"import time; time.sleep(0.5); open({str(tmp_path / 'a')!r}, 'w')"))
    second = Stage("second", ("-c", f"open({str(tmp_path / 'a')!r})"), needs=("first",))
    assert run([second, first], tmp_path) == ["first", "second"]


def test_stages_that_do_not_need_each_other_overlap(tmp_path):
    stamps = "import time, sys; print(time.time()); time.sleep(0.6); print(time.time())"
    run([Stage("a", ("-c", stamps)), Stage("b", ("-c", stamps))], tmp_path)
    spans = [[float(line) for line in (tmp_path / f"logs/{name}.log").read_text().split()] for name in "ab"]
    assert max(start for start, _ in spans) < min(end for _, end in spans)


def test_a_stage_alone_overlaps_nothing(tmp_path):
    stamps = "import time, sys; print(time.time()); time.sleep(0.3); print(time.time())"
    run([Stage("a", ("-c", stamps)), Stage("b", ("-c", stamps), alone=True), Stage("c", ("-c", stamps))], tmp_path)
    spans = {name: [float(x) for x in (tmp_path / f"logs/{name}.log").read_text().split()] for name in "abc"}
    for other in "ac":
        assert spans["b"][0] > spans[other][1] or spans["b"][1] < spans[other][0]


def test_finished_stages_of_an_earlier_run_count_as_done(tmp_path):
    assert run([Stage("b", write(tmp_path / "b"), needs=("a",))], tmp_path, known={"a"}) == ["b"]


def test_a_failure_names_the_stage_its_last_line_and_its_log_and_stops_the_others(tmp_path):
    alive = tmp_path / "alive"
    endless = f"import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open({str(alive)!r}, 'w')"
    fails = "import sys, time; time.sleep(0.5); sys.exit('ganglion: a.json: no such file; correct --data')"
    with pytest.raises(GanglionError) as error:
        run([Stage("endless", ("-c", endless)), Stage("fails", ("-c", fails))], tmp_path)
    assert "stage 'fails': a.json: no such file; correct --data" in str(error.value)
    assert "fails.log" in str(error.value)
    assert alive.exists(), "the other stage was interrupted, not abandoned"


def test_an_interrupt_ends_every_child(tmp_path):
    code = (
        "from pathlib import Path; from ganglion.demo.quickstart.stages import *;"
        "sleep = ('-c', 'import time, os; print(os.getpid(), flush=True); time.sleep(60)');"
        f"run_stages([Stage('a', sleep), Stage('b', sleep)], Path({str(tmp_path)!r}), 2, set(), print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    pids = []
    for name in "ab":
        while not (log := tmp_path / f"{name}.log").is_file() or not log.read_text().strip():
            time.sleep(0.05)
        pids.append(int(log.read_text().split()[0]))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

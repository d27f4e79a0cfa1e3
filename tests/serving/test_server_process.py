"""A server as a child: waited for, told to end, and gone with all that it started."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ganglion.core.errors import GanglionError
from ganglion.serving.server_process import ServerProcess

WAIT_S = 60


def start(folder, code):
    return ServerProcess("Fake", [sys.executable, "-u", "-c", code], os.environ, folder / "log.txt")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


SERVES = "import pathlib, time; pathlib.Path({ready!r}).touch(); time.sleep(600)"
PARENT = """
import subprocess, sys, time, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({ready!r}).write_text(str(child.pid))
time.sleep(600)
"""


def test_it_is_waited_for_and_stopped(tmp_path):
    ready = tmp_path / "ready"
    with start(tmp_path, SERVES.format(ready=str(ready))) as server:
        server.wait_until_ready(ready.exists)
        pid = server._process.pid
        assert alive(pid)
        assert server.stop()
    assert not alive(pid)


def test_one_that_stands_back_does_so_with_all_that_it_starts(tmp_path):
    inner = tmp_path / "inner"
    code = f"""if True:
        import os, pathlib, sys
        from ganglion.serving.server_process import ServerProcess
        with ServerProcess("Inner", ["sleep", "600"], os.environ, pathlib.Path({str(tmp_path / "log")!r})) as server:
            pathlib.Path({str(inner)!r}).write_text(str(server._process.pid))
            server.run_until_signal()
    """
    command = [sys.executable, "-c", code]
    with ServerProcess("Outer", command, os.environ, tmp_path / "log.txt", nice=7) as outer:
        wait_for(lambda: inner.exists() and inner.read_text())
        for pid in (outer._process.pid, int(inner.read_text())):
            assert os.getpriority(os.PRIO_PROCESS, pid) == 7
            if (group := Path(f"/proc/{pid}/autogroup")).exists():
                assert group.read_text().endswith("nice 7\n")


def test_what_it_started_ends_with_it(tmp_path):
    ready = tmp_path / "ready"
    with start(tmp_path, PARENT.format(ready=str(ready))) as server:
        server.wait_until_ready(lambda: ready.exists() and bool(ready.read_text()))
        child = int(ready.read_text())
        assert alive(child)
    wait_for(lambda: not alive(child))


def test_one_that_ends_while_starting_is_explained_by_its_log(tmp_path):
    code = "print('loading'); print('Error: no memory left'); print('bye'); raise SystemExit(3)"
    with start(tmp_path, code) as server, pytest.raises(GanglionError) as failed:
        server.wait_until_ready(lambda: False)
    said = str(failed.value)
    assert said.startswith("Fake: ended with status 3; its log says: Error: no memory left; see ")
    assert "\n" not in said


def test_a_known_failure_is_explained_in_our_words(tmp_path):
    code = "print('Error: no memory left'); raise SystemExit(3)"

    def explain(log):
        return "the GPU is full" if "no memory left" in log else None

    with start(tmp_path, code) as server, pytest.raises(GanglionError, match="status 3; the GPU is full; see"):
        server.wait_until_ready(lambda: False, explain)


def test_one_that_never_serves_is_given_up(tmp_path):
    def refused():
        raise ConnectionRefusedError

    with start(tmp_path, "import time; time.sleep(600)") as server:
        with pytest.raises(GanglionError, match=r"did not serve within 0.3 s; its log says: nothing"):
            server.wait_until_ready(refused, limit_s=0.3)
        assert not alive(server._process.pid)


def test_one_that_ignores_sigterm_is_killed(tmp_path):
    ready = tmp_path / "ready"
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVES.format(ready=str(ready))
    server = start(tmp_path, code)
    server.wait_until_ready(ready.exists)
    assert not server.stop(grace_s=0.2)
    assert not alive(server._process.pid)


def test_one_that_has_finished_but_is_held_up_is_not_waited_for(tmp_path):
    ready = tmp_path / "ready"
    code = "import signal; signal.signal(signal.SIGTERM, lambda *_: print('finished')); "
    code += SERVES.format(ready=str(ready)) + "; time.sleep(600)"
    server = start(tmp_path, code)
    server.wait_until_ready(ready.exists)
    assert server.stop(grace_s=WAIT_S, has_finished=lambda log: "finished" in log, leave_s=0.2)
    assert not alive(server._process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_old_handlers_come_back(tmp_path, number):
    ready, before = tmp_path / "ready", signal.getsignal(number)
    with start(tmp_path, SERVES.format(ready=str(ready))) as server:
        server.wait_until_ready(ready.exists)
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        assert server.run_until_signal() == 0
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_ends_it_in_a_line(tmp_path, number):
    with start(tmp_path, "import time; time.sleep(600)") as server:
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        with pytest.raises(GanglionError, match="Fake: was told to end before it served"):
            server.wait_until_ready(lambda: False)
    assert not alive(server._process.pid)


def test_one_that_ends_by_itself_is_a_failure(tmp_path):
    ready = tmp_path / "ready"
    code = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(0.3); print('fatal error: bus')"
    with start(tmp_path, code) as server:
        server.wait_until_ready(ready.exists)
        with pytest.raises(GanglionError, match="ended with status 0; its log says: fatal error: bus"):
            server.run_until_signal()


def test_it_ends_when_its_parent_is_killed(tmp_path):
    ready = tmp_path / "ready"
    parent = (
        "import os, sys, time, pathlib\n"
        "from ganglion.serving.server_process import ServerProcess\n"
        f"server = ServerProcess('Fake', [sys.executable, '-c', 'import time; time.sleep(600)'], os.environ, "
        f"pathlib.Path({str(tmp_path / 'log.txt')!r}))\n"
        f"pathlib.Path({str(ready)!r}).write_text(str(server._process.pid))\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(lambda: ready.exists() and bool(ready.read_text()))
    child = int(ready.read_text())
    assert alive(child)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(child))


def test_what_it_started_ends_when_its_parent_is_killed(tmp_path):
    """Even one that takes no notice of SIGTERM; the kernel tells a killed process's own child only."""
    ready = tmp_path / "ready"
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )
    serves = (
        "import subprocess, sys, pathlib, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {stubborn!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"pathlib.Path({str(ready)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    parent = (
        "import os, sys, time, pathlib\n"
        "from ganglion.serving.server_process import ServerProcess\n"
        f"server = ServerProcess('Fake', [sys.executable, '-c', {serves!r}], os.environ, "
        f"pathlib.Path({str(tmp_path / 'log.txt')!r}))\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(lambda: ready.exists() and bool(ready.read_text()))
    child = int(ready.read_text())
    assert alive(child)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(child))


SHARED_MEMORY = Path("/dev/shm")
SHARES = "import pathlib, time; [pathlib.Path({path!r} + end).touch() for end in 'ab']; time.sleep({seconds})"


@pytest.fixture
def shared():
    name = f"ganglion-test-{os.getpid()}"
    yield name
    for left in SHARED_MEMORY.glob(f"{name}*"):
        left.unlink()


def test_a_killed_server_leaves_no_shared_memory(tmp_path, shared):
    others = SHARED_MEMORY / f"other-{shared}"
    others.touch()
    try:
        code = SHARES.format(path=str(SHARED_MEMORY / shared), seconds=600)
        with ServerProcess("Fake", [sys.executable, "-c", code], os.environ, tmp_path / "log.txt", shared) as server:
            wait_for(lambda: len([*SHARED_MEMORY.glob(f"{shared}*")]) == 2)
            os.kill(server._process.pid, signal.SIGKILL)
            with pytest.raises(GanglionError, match="ended with status -9"):
                server.run_until_signal()
        assert not [*SHARED_MEMORY.glob(f"{shared}*")]
        assert others.exists()
    finally:
        others.unlink()


def test_a_killed_parent_leaves_no_shared_memory(tmp_path, shared):
    code = SHARES.format(path=str(SHARED_MEMORY / shared), seconds=600)
    parent = (
        "import os, sys, time, pathlib\n"
        "from ganglion.serving.server_process import ServerProcess\n"
        f"server = ServerProcess('Fake', [sys.executable, '-c', {code!r}], os.environ, "
        f"pathlib.Path({str(tmp_path / 'log.txt')!r}), {shared!r})\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(lambda: len([*SHARED_MEMORY.glob(f"{shared}*")]) == 2)
    process.kill()
    process.wait()
    wait_for(lambda: not [*SHARED_MEMORY.glob(f"{shared}*")])


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GanglionError, match="/nowhere/server: can't be started"):
        ServerProcess("Fake", ["/nowhere/server"], os.environ, tmp_path / "log.txt")

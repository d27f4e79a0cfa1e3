"""Events are lines of JSON, bounded in number and size, whoever writes them."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ganglion.core.errors import InputError
from ganglion.core.event_log import BoundedFile, JsonFormatter, RateLimit, fields, log_events

LOG = logging.getLogger("ganglion.test")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(event="hop", values=None):
    made = logging.LogRecord("ganglion.test", logging.WARNING, "", 0, event, (), None)
    if values is not None:
        made.fields = values
    return made


def test_an_event_is_one_line_with_time_level_and_fields(tmp_path):
    with log_events(tmp_path / "made" / "events.jsonl"):
        LOG.info("session_begun", extra=fields(session="a1", robot=7, note='two\nlines "quoted"'))
        LOG.error("broke", exc_info=ValueError("why"), extra=fields())
    begun, broke = lines(tmp_path / "made" / "events.jsonl")
    assert begun.pop("time").endswith("Z")
    assert begun == {
        "level": "info", "event": "session_begun", "session": "a1", "robot": 7, "note": 'two\nlines "quoted"',
    }  # fmt: skip
    assert (broke["level"], broke["error"]) == ("error", "ValueError('why')")


def test_without_a_file_events_are_on_stderr_and_nothing_after_the_block(capfd):
    with log_events():
        LOG.info("inside", extra=fields(n=1))
    LOG.error("outside", extra=fields())
    (said,) = capfd.readouterr().err.splitlines()
    assert json.loads(said)["event"] == "inside"


def test_a_stderr_that_nobody_reads_holds_up_no_end():
    code = """if True:
        import logging
        from ganglion.core.event_log import fields, log_events
        with log_events(per_s=1000.0):
            for _ in range(20):
                logging.getLogger("ganglion").warning("storm", extra=fields(said="x" * 20_000))
    """
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        assert process.wait(60) == 0


def test_what_a_library_logs_is_a_line_of_json_too():
    told = json.loads(JsonFormatter().format(logging.LogRecord("x.y", 30, "", 0, "took %d s", (3,), None)))
    assert (told["event"], told["logger"], told["message"]) == ("message", "x.y", "took 3 s")


def test_an_event_that_comes_too_often_is_dropped_and_counted_and_no_other_is():
    now = [0.0]
    limit = RateLimit(per_s=1.0, burst=3, clock=lambda: now[0])
    assert [limit.filter(record("error", {})) for _ in range(5)] == [True] * 3 + [False] * 2
    assert limit.filter(record("session_begun", {}))
    now[0] = 1.0
    later = record("error", {})
    assert limit.filter(later)
    assert json.loads(JsonFormatter().format(later))["dropped"] == 2
    now[0] = 1000.0
    assert [limit.filter(record("error", {})) for _ in range(4)] == [True] * 3 + [False]


def test_texts_that_differ_do_not_pass_the_limit_of_foreign_messages():
    limit = RateLimit(per_s=1.0, burst=3, clock=lambda: 0.0)
    assert sum(limit.filter(record(f"client said {n}")) for n in range(50)) == 3


def test_a_storm_of_events_fills_no_disk(tmp_path):
    with log_events(tmp_path / "events"):
        for n in range(3000):
            LOG.warning("refused", extra=fields(robot=n))
    assert 100 <= len(lines(tmp_path / "events")) < 200


def test_a_full_file_makes_room_and_at_most_one_old_is_kept(tmp_path):
    handler = BoundedFile(tmp_path / "events", most_bytes=1000)
    handler.setFormatter(JsonFormatter())
    for n in range(200):
        handler.handle(record("hop", {"n": n}))
    handler.close()
    old, new = lines(tmp_path / "events.1"), lines(tmp_path / "events")
    assert {path.name for path in tmp_path.iterdir()} == {"events", "events.1"}
    assert [line["n"] for line in old + new] == [*range(200 - len(old + new), 200)]
    assert all((tmp_path / name).stat().st_size < 1200 for name in ("events", "events.1"))


def test_processes_share_a_file_and_no_line_is_torn(tmp_path):
    code = f"""
import logging
import shutil
from pathlib import Path
from ganglion.core.event_log import BoundedFile, JsonFormatter
handler = BoundedFile(Path({str(tmp_path / "events")!r}), most_bytes=200_000)
handler.setFormatter(JsonFormatter())
for n in range(1500):
    record = logging.LogRecord("x", 20, "", 0, "hop", (), None)
    record.fields = {{"n": n}}
    handler.handle(record)
"""
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [one.wait(60) for one in running] == [0, 0]
    found = [line for path in tmp_path.iterdir() for line in lines(path)]
    assert len(found) == 3000


def test_a_log_that_is_taken_away_stops_nobody_and_goes_on_where_it_is_put_back(tmp_path):
    handler = BoundedFile(tmp_path / "folder" / "events")
    handler.setFormatter(JsonFormatter())
    handler.handle(record("hop", {"n": 0}))
    shutil.rmtree(tmp_path / "folder")
    for n in (1, 2):
        handler.handle(record("hop", {"n": n}))
    (tmp_path / "folder").mkdir()
    handler.handle(record("hop", {"n": 3}))
    handler.close()
    assert [line["n"] for line in lines(tmp_path / "folder" / "events")] == [3]


def test_a_file_that_can_not_be_written_is_told_in_one_line():
    with pytest.raises(InputError, match="log /proc/none/x: can't be written"), log_events(Path("/proc/none/x")):
        pass

"""Rows between processes: the newest are there by number, and none is ever read torn."""

import mmap
import subprocess
import sys

import numpy as np

from ganglion.robot_bridge.rows import Rows
from ganglion.robot_bridge.segment import Segment

FAST_WRITER = """
import sys
import numpy as np
from ganglion.robot_bridge.rows import Rows
from ganglion.robot_bridge.segment import Segment
rows = Rows(Segment.attach(sys.argv[1]).memory, 64, 4, 1000)
for number in range(int(sys.argv[2])):
    rows.append(10 * number, np.full(400, float(number)), np.full(600, float(number)))
"""


def test_rows_are_found_by_number_with_their_stamps_until_newer_ones_take_their_place():
    rows = Rows(mmap.mmap(-1, Rows.size(3, 2)), 0, 3, 2)
    assert rows.count == 0 and rows.read(0) is None and rows.read(-1) is None
    for number in range(5):
        rows.append(10 * number, np.array([number]), np.array([-number]))
    assert rows.count == 5
    found = [rows.read(number) for number in range(6)]
    assert [row and (row[0], row[1].tolist()) for row in found] == [
        None,
        None,
        (20, [2.0, -2.0]),
        (30, [3.0, -3.0]),
        (40, [4.0, -4.0]),
        None,
    ]


def test_a_row_that_was_read_stays_as_it_was():
    rows = Rows(mmap.mmap(-1, Rows.size(1, 1)), 0, 1, 1)
    rows.append(1, np.array([1.0]))
    _, values = rows.read(0)
    rows.append(2, np.array([2.0]))
    assert values.tolist() == [1.0]


def test_cleared_rows_are_gone_and_count_from_zero():
    rows = Rows(mmap.mmap(-1, Rows.size(3, 1)), 0, 3, 1)
    for number in range(4):
        rows.append(number, np.array([number]))
    rows.clear()
    assert rows.count == 0 and all(rows.read(number) is None for number in range(4))
    rows.append(7, np.array([7.0]))
    assert rows.read(0)[0] == 7 and rows.read(3) is None


def test_a_writer_in_another_process_that_laps_the_reader_never_gets_a_torn_row_read():
    count, size = 20_000, 64 + Rows.size(4, 1000)
    segment = Segment.create("world", size, lambda: b"", "rows")
    rows, read = Rows(segment.memory, 64, 4, 1000), 0
    writer = subprocess.Popen([sys.executable, "-c", FAST_WRITER, segment.name, str(count)])
    try:
        while rows.count < count:
            number = rows.count - 4  # the one that is overwritten next
            if found := rows.read(number):
                assert found[0] == 10 * number and (found[1] == number).all()
                read += 1
            else:
                assert writer.poll() in (None, 0)
        assert writer.wait() == 0
        assert read
    finally:
        writer.kill()
        writer.wait()
        segment.unlink()
        segment.close()

"""The ring between processes: what is passed on is intact and in order, what is not is counted."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganglion.core.errors import GanglionError
from ganglion.robot_bridge.ring import Ring, RingReader, RingWriter
from ganglion.robot_bridge.segment import remove_abandoned

FAST_WRITER = """
import sys, time
from ganglion.robot_bridge.ring import Ring, RingWriter
ring = Ring.attach(sys.argv[1])
writer = RingWriter(ring)
for seq in range(int(sys.argv[2])):
    writer.claim(seq)[:] = seq
    writer.publish(seq, 10 * seq, 10 * seq + 1)
"""


@pytest.fixture
def ring():
    ring = Ring.create(8, 3, np.float32)
    yield ring
    ring.unlink()
    ring.close()


def write(writer, seq):
    writer.claim(seq)[:] = seq
    writer.publish(seq, 10 * seq, 10 * seq + 1)


def test_samples_arrive_with_their_numbers_and_stamps_across_the_wrap(ring):
    writer, reader = RingWriter(ring), RingReader(Ring.attach(ring.name))
    for first in (0, 5, 10):
        for seq in range(first, first + 5):
            write(writer, seq)
        samples = reader.read(100)
        assert samples.first_seq == first
        assert samples.values.tolist() == [[s, s, s] for s in range(first, first + 5)]
        assert samples.stamps_ns.tolist() == [10 * s for s in range(first, first + 5)]
    assert reader.read(100) is None
    assert (reader.lost, reader.torn) == (0, 0)


def test_overwritten_samples_are_lost_and_the_newest_are_read(ring):
    writer, reader = RingWriter(ring), RingReader(ring)
    for seq in range(20):
        write(writer, seq)
    assert reader.read(100).first_seq == 12
    assert (reader.lost, reader.next_seq) == (12, 20)


def test_a_sample_that_was_never_published_splits_the_run_and_counts_as_lost(ring):
    writer, reader = RingWriter(ring), RingReader(ring)
    for seq in range(6):
        if seq in (0, 3):
            writer.claim(seq)
        else:
            write(writer, seq)
    runs = [reader.read(100), reader.read(100), reader.read(100)]
    assert [(run.first_seq, len(run.values)) for run in runs[:2]] == [(1, 2), (4, 2)]
    assert runs[2] is None
    assert reader.lost == 2


def test_reading_ends_where_it_is_told_even_after_a_lost_sample(ring):
    writer, reader = RingWriter(ring), RingReader(ring)
    for seq in range(8):
        if seq != 2:
            write(writer, seq)
    assert reader.whole_hops(3) == 6
    runs = [reader.read(6), reader.read(6)]
    assert [(run.first_seq, len(run.values)) for run in runs] == [(0, 2), (3, 3)]
    assert reader.read(6) is None
    assert reader.next_seq == 6


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_producer_that_laps_the_reader_never_gets_a_torn_sample_passed_on(dtype):
    count, channels = 2000, 1026
    ring = Ring.create(4, channels, dtype)
    producer = subprocess.Popen([sys.executable, "-c", FAST_WRITER, ring.name, str(count)])
    reader, received = RingReader(ring), 0
    try:
        while reader.next_seq < count:
            samples = reader.read(count)
            if samples is None:
                assert producer.poll() in (None, 0)
                continue
            expected = np.arange(samples.first_seq, samples.first_seq + len(samples.values))
            assert (samples.values == expected[:, None].astype(dtype)).all()
            assert (samples.stamps_ns == 10 * expected).all()
            received += len(samples.values)
        assert producer.wait() == 0
        assert received + reader.lost == count
        assert reader.torn <= reader.lost
    finally:
        producer.kill()
        producer.wait()
        ring.unlink()


def test_a_sample_overwritten_while_it_is_copied_is_torn_and_not_passed_on(ring):
    writer = RingWriter(ring)
    for seq in range(8):
        write(writer, seq)

    class LappedWhileCopied(np.ndarray):
        """Values that the producer laps during the first copy: the worst timing, made certain."""

        def __getitem__(self, key):
            copied = np.asarray(super().__getitem__(key))
            if np.ndim(key) and ring.next_seq[0] == 8:
                write(writer, 8)
            return copied

    slow = Ring.attach(ring.name)
    slow.values = slow.values.view(LappedWhileCopied)
    reader = RingReader(slow)
    samples = reader.read(9)
    assert samples.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (reader.torn, reader.lost) == (1, 1)


def test_the_end_of_an_attached_process_leaves_the_segment(ring):
    subprocess.run([sys.executable, "-c", FAST_WRITER, ring.name, "3"], check=True)
    assert Path("/dev/shm", ring.name).exists()
    assert len(RingReader(ring).read(9).values) == 3


def test_attaching_to_nothing_names_the_segment():
    with pytest.raises(GanglionError, match="ganglion-ring-none"):
        Ring.attach("ganglion-ring-none")


def test_only_segments_that_nobody_has_open_are_abandoned(ring):
    leave = "from ganglion.robot_bridge.ring import Ring; print(Ring.create(4, 2).name)"
    left = subprocess.run([sys.executable, "-c", leave], check=True, capture_output=True, text=True).stdout.strip()
    remove_abandoned()
    assert not Path("/dev/shm", left).exists()
    assert Path("/dev/shm", ring.name).exists()


def test_a_ring_that_does_not_fit_is_refused_before_it_is_used():
    with pytest.raises(GanglionError, match="/dev/shm"):
        Ring.create(1 << 40, 1026)
    assert not list(Path("/dev/shm").glob(".ganglion-ring-*"))

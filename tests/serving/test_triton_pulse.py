"""A process that is silent for long is told of; one that is slow, or a clock that is set, is not."""

from ganglion.serving.triton.pulse import Pulse


class Watched:
    def __init__(self):
        self.now, self.told = 100.0, {"policy_0_0": 5.0, "policy_0_1": 5.0}
        self.pulse = Pulse(self.read, clock=lambda: self.now)

    def read(self):
        if self.told is None:
            raise ConnectionRefusedError
        lines = [f'ganglion_policy_ready_timestamp_seconds{{process="{name}"}} {at}' for name, at in self.told.items()]
        return "\n".join(["# HELP other", "other 1", *lines, ""])

    def after(self, seconds, **told):
        self.now += seconds
        if self.told is not None:
            self.told |= told
        return self.pulse.problem()


def test_a_process_that_tells_nothing_new_for_ten_seconds_is_named():
    watched = Watched()
    for tick in range(5):
        assert watched.after(2.0, policy_0_0=6.0 + tick) is None
    assert watched.after(3.0, policy_0_0=20.0) == "policy_0_1 can't serve any more"


def test_a_clock_that_is_set_back_or_forth_is_no_silence():
    watched = Watched()
    for at in (6.0, 9000.0, 2.0, 3.0, 4.0, 5.0):
        assert watched.after(4.0, policy_0_0=at, policy_0_1=at) is None


def test_a_server_without_such_metrics_or_without_an_answer_is_not_judged_here():
    watched = Watched()
    watched.told = {}
    assert all(watched.after(20.0) is None for _ in range(3))
    watched.told = None
    assert all(watched.after(20.0) is None for _ in range(3))

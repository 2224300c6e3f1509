import signal
import threading

import pytest

from covtool.progress import silent
from covtool.training.loop.interruption import StopHere, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with interruptible() as interruption:
        interruption.check()
        signal.raise_signal(number)
        assert interruption.signal_number == number
        with pytest.raises(StopHere):
            interruption.check()
    assert signal.getsignal(number) is before


def test_a_second_signal_interrupts_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_watched_track_stops_between_items():
    seen = []
    with interruptible() as interruption, pytest.raises(StopHere):
        for item in interruption.watching(silent)(range(5), "counting", 5):
            seen.append(item)
            if item == 1:
                signal.raise_signal(signal.SIGINT)
    assert seen == [0, 1]


def test_outside_the_main_thread_nothing_is_touched():
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def run():
        with interruptible():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]

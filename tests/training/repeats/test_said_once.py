"""Notes on what several runs have in common are given once."""

from training_runs import Recorder

from covtool.training.repeats.said_once import SaidOnce


def test_notes_before_a_start_are_given_once_and_those_of_a_run_always():
    seen = Recorder()
    once = SaidOnce(seen)
    for number in range(2):
        once.on_note(f"run {number}")
        once.on_note("of the data")
        once.on_start(plan=None)
        once.on_note("of the run")
        once.on_end()
    assert seen.notes == ["run 0", "of the data", "of the run", "run 1", "of the run"]
    assert len(seen.plans) == 2

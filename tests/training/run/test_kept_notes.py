"""The notes of a run are kept once each, in order, and in its file as soon as there is one."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from training_runs import Recorder

from covtool.run_files import notes_in
from covtool.training.run import kept_notes
from covtool.training.run.kept_notes import MORE, KeptNotes
from covtool.training.run.logs import RunLogs
from covtool.training.run.records import EpochRecord

EPOCH = EpochRecord(
    epoch=1, epochs=3, train_loss=1.0, figures={}, lr=0.1, is_best=False, seconds=1.0
)


def started(name: str) -> SimpleNamespace:
    return SimpleNamespace(directory=Path(name))


def test_each_note_is_kept_once_and_passed_on_every_time() -> None:
    seen = Recorder()
    kept = KeptNotes(seen, ["of the part before"])
    for text in ("a", "b", "a"):
        kept.on_note(text)
    kept.announce("nothing of interest")
    assert kept.notes == ("of the part before", "a", "b")
    assert seen.notes == ["a", "b", "a", "nothing of interest"]


def test_images_that_others_took_the_place_of_are_counted_by_epoch() -> None:
    kept = KeptNotes(Recorder())
    for epoch, replaced in ((1, 2), (2, 0), (3, 1)):
        kept.on_epoch(replace(EPOCH, epoch=epoch, replaced=replaced))
    assert kept.notes == (
        "In epoch 1, 2 training images could not be read: others took their place.",
        "In epoch 3, 1 training image could not be read: others took their place.",
    )


def test_of_several_runs_a_note_has_the_name_of_the_run_that_gave_it() -> None:
    kept = KeptNotes(Recorder(), several=True)
    kept.on_note("of the data")
    for name in ("seed-1", "seed-2"):
        kept.on_start(started(name))
        kept.on_note("skipped")
        kept.on_end()
    kept.on_note("of all")
    assert kept.notes == ("of the data", "seed-1: skipped", "seed-2: skipped", "of all")


def test_notes_are_in_the_file_as_they_are_given_and_once(tmp_path) -> None:
    kept = KeptNotes(Recorder())
    kept.on_note("before there\nis a folder \udcff")
    kept.write_to(RunLogs(tmp_path).append_note)
    kept.on_note("later")
    kept.on_note("later")
    assert notes_in(tmp_path) == kept.notes == ("before there\nis a folder \\udcff", "later")
    again = KeptNotes(Recorder(), notes_in(tmp_path))
    again.on_note("resumed")
    again.write_to(RunLogs(tmp_path).append_note)
    assert notes_in(tmp_path) == (*kept.notes, "resumed")
    RunLogs(tmp_path).forget_all()
    assert notes_in(tmp_path) == ()
    again.write_to(RunLogs(tmp_path).append_note, anew=True)
    assert notes_in(tmp_path) == again.notes


def test_notes_without_end_are_cut_and_that_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(kept_notes, "MOST_BYTES", 1_000)
    kept = KeptNotes(Recorder())
    kept.write_to(RunLogs(tmp_path).append_note)
    for number in range(1_000):
        kept.on_note(f"image {number}")
    assert kept.notes[-1] == MORE
    assert len(kept.notes) < 60
    assert notes_in(tmp_path) == kept.notes
    monkeypatch.setattr(kept_notes, "MOST_BYTES", 100_000)
    kept.on_note("\N{MUSICAL SYMBOL G CLEF}" * 100_000)  # twelve bytes each, in the file
    assert notes_in(tmp_path) == kept.notes
    assert kept.notes[-1].endswith("...")

import json
import shutil

import pytest
import torch
from images import truncate
from toy_data import write_toy_data
from training_runs import Recorder, assert_same_weights, power_cut, weights

from covtool.errors import DataError
from covtool.run_files import notes_in
from covtool.training import finetune, resume_finetune


@pytest.fixture
def data(tmp_path):
    return write_toy_data(tmp_path / "toy")


def seen_late(data, asked):
    """A training image of the second half of the first epoch."""
    from covtool.processes import ALONE
    from covtool.training.run.observer import SilentObserver
    from covtool.training.start.finetune import open_source, read_layout, resolve_defaults
    from covtool.training.start.prepare import build_parts

    request, observer = resolve_defaults(asked(), ALONE), SilentObserver()
    layout = read_layout(request, observer)
    parts = build_parts(open_source(request, observer, ALONE), request, layout, observer, ALONE)
    parts.begin_epoch(0)
    draws = [draw for batch in parts.training_batches.batch_sampler for draw in batch]
    return layout.samples("train")[draws[-2].index].path


def damaging(path, update=1, damage=truncate):
    return Recorder(at_update=update, do=lambda: damage(path))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_goes_bad_midway_ends_the_run_which_goes_on_after_repair(
    data, asked, workers, tmp_path
):
    path = seen_late(data, asked)
    whole, rest = Recorder(), Recorder()
    expected = finetune(asked(workers=workers), observer=whole)
    kept = shutil.copy(path, tmp_path / "kept.png")
    observer = damaging(path)
    with pytest.raises(DataError) as caught:
        finetune(asked(workers=workers), observer=observer)
    assert caught.value.message == f"The image {path} cannot be read."
    directory, done = observer.plans[0].directory, len(observer.steps)
    assert caught.value.hint.startswith("Restore the image, or add --on-bad-image skip")
    assert f"The state after step {done} was saved" in caught.value.hint
    assert f"covtool finetune --resume {directory}" in caught.value.hint
    with pytest.raises(DataError, match="1 of 36 images cannot be read"):
        resume_finetune(directory)
    shutil.copy(kept, path)
    result = resume_finetune(directory, observer=rest)
    assert [r.loss for r in rest.steps] == [r.loss for r in whole.steps[done:]]
    first, second = (weights(r.directory / "checkpoints/last.pt") for r in (expected, result))
    assert_same_weights(first, second)


def of_epochs(result):
    """What the notes of a run say of its epochs."""
    return [note.partition(":")[0] for note in result.notes if note.startswith("In epoch")]


def vanish(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, vanish])
def test_a_run_that_skips_it_is_the_same_with_any_workers_and_after_a_kill(data, asked, damage):
    """Also where the image goes bad between the kill and the resumption: its turn is to come."""
    path, settings = seen_late(data, asked), {"on_bad_image": "skip", "epochs": 3}
    content = path.read_bytes()
    whole = damaging(path, damage=damage)
    expected = finetune(asked(**settings), observer=whole)
    assert [record.replaced for record in whole.epochs] == [1, 1, 1]
    (note,) = (note for note in whole.notes if "cannot be read any more" in note)
    assert note.startswith(f"{path} cannot be read any more; another image takes its place.")
    by_epoch = [f"In epoch {k}, 1 training image could not be read" for k in (1, 2, 3)]
    assert note in expected.notes
    assert of_epochs(expected) == by_epoch

    for workers, damaged_at, cut_at in ((2, 1, 8), (0, 3, 3)):
        path.write_bytes(content)

        class Cut(Recorder):
            def on_step(self, record, at=(damaged_at, cut_at)):
                super().on_step(record)
                if record.update == at[0]:
                    damage(path)
                if record.update == at[1]:
                    power_cut()

        cut, rest = Cut(), Recorder()
        with pytest.raises(RuntimeError, match="power cut"):
            finetune(asked(**settings, workers=workers, save_every_steps=1), observer=cut)
        result = resume_finetune(cut.plans[0].directory, observer=rest)
        assert any("1 images of train cannot be read any more" in note for note in rest.notes)
        assert {*cut.notes, *rest.notes} <= set(result.notes)  # those of the part before, too
        assert note in result.notes
        assert of_epochs(result) == by_epoch
        saved = json.loads((result.directory / "result.json").read_text())
        assert tuple(saved["notes"]) == result.notes == notes_in(result.directory)
        states = [
            torch.load(r.directory / "checkpoints/last.pt", weights_only=True)
            for r in (expected, result)
        ]
        assert_same_weights(states[0]["model"], states[1]["model"])
        assert [r.loss for r in rest.steps] == [r.loss for r in whole.steps][-len(rest.steps) :]


def test_images_that_were_left_out_at_the_start_stay_out(data, asked):
    """Though they have been repaired since, and though new ones have come."""
    path = data / "train/red/0.png"
    content = path.read_bytes()
    truncate(path)
    cut, rest = Recorder(at_epoch=1, do=power_cut), Recorder()
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(on_bad_image="skip"), observer=cut)
    path.write_bytes(content)
    shutil.copy(path, data / "train/red/new.png")
    resume_finetune(cut.plans[0].directory, observer=rest)
    assert rest.plans[0].training_images == cut.plans[0].training_images == 35


def test_a_cached_run_cannot_be_resumed_without_its_images(data, asked):
    path = data / "train/red/0.png"
    cut = Recorder(at_epoch=1, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(asked(cache="ram", on_bad_image="skip"), observer=cut)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError, match="1 images of train cannot be read any more") as caught:
        resume_finetune(cut.plans[0].directory)
    assert str(path) in caught.value.reason
    assert "with --cache no others take their place" in caught.value.hint
    path.write_bytes(content)
    assert resume_finetune(cut.plans[0].directory).epochs == 2


def test_a_validation_image_that_goes_bad_is_left_out_or_ends_the_run(data, asked):
    path = data / "val/red/0.png"
    observer = Recorder(at_update=3, do=lambda: path.unlink())
    result = finetune(asked(on_bad_image="skip"), observer=observer)
    assert result.epochs == 2
    (note,) = (note for note in observer.notes if "cannot be read any more" in note)
    assert "the evaluation does without it. There is no such file." in note
    shutil.copy(data / "val/red/1.png", path)
    observer = Recorder(at_update=3, do=lambda: path.unlink())
    with pytest.raises(DataError, match=r"0\.png cannot be read") as caught:
        finetune(asked(), observer=observer)
    assert "The state after step 6 was saved" in caught.value.hint
    shutil.copy(data / "val/red/1.png", path)
    rest = Recorder()
    resume_finetune(observer.plans[0].directory, observer=rest)
    assert [record.update for record in rest.steps] == [7, 8, 9, 10, 11, 12]


def test_what_to_do_about_bad_images_may_change_when_a_run_is_resumed(data, asked):
    path = seen_late(data, asked)
    observer = damaging(path)
    with pytest.raises(DataError):
        finetune(asked(), observer=observer)
    rest = Recorder()
    directory = observer.plans[0].directory
    result = resume_finetune(directory, changes={"on_bad_image": "skip"}, observer=rest)
    assert result.epochs == 2
    assert "--on-bad-image changes from error to skip." in rest.notes

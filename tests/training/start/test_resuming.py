import json
import re
import shutil
import time

import fork_server
import pytest
import torch
from toy_data import COLORS, write_toy_data
from training_runs import (
    Recorder,
    assert_same_weights,
    cut_short,
    full_disk,
    power_cut,
    rows,
    weights,
)

from covtool.checkpoints.model_file import load, save
from covtool.errors import ArgumentError, CheckpointError, DataError, SaveError
from covtool.training import finetune, resume_finetune
from covtool.training.run.checkpoints import CheckpointStore
from covtool.training.run.directory import RunDirectory


def state(directory, name="last"):
    return torch.load(directory / f"checkpoints/{name}.pt", weights_only=True)


@pytest.fixture
def saves(asked):
    """Saves after updates 4, 8, ...; epochs of 6 updates."""

    def request(**settings):
        return asked(save_every_steps=4, **settings)

    return request


def test_a_state_is_saved_in_mid_epoch_and_goes_on_exactly(saves):
    whole, rest = Recorder(), Recorder()
    settings = {"mixup": 0.2, "model_ema": True, "gc": True}
    expected = finetune(saves(**settings), observer=whole)
    directory = cut_short(saves(**settings), at_update=10)
    assert state(directory)["progress"]["updates"] == 8
    assert state(directory, "previous")["progress"]["updates"] == 6
    resume_finetune(directory, observer=rest)
    assert [r.loss for r in rest.steps] == [r.loss for r in whole.steps[8:]]
    assert rows(directory) == rows(expected.directory)
    for part in ("model", "model_ema"):
        assert_same_weights(state(expected.directory)[part], state(directory)[part])


def test_no_image_before_the_position_is_read_again(saves, monkeypatch):
    from covtool.data.rendering import from_files

    directory = cut_short(saves(), at_update=10)
    read = []
    original = from_files.read_picture
    monkeypatch.setattr(
        from_files,
        "read_picture",
        lambda path, *how, **more: read.append(path) or original(path, *how, **more),
    )
    resume_finetune(directory)
    training = [path for path in read if "train" in path.parts]
    assert len(training) == 4 * 6  # updates 9 to 12


def without_setting(directory, name):
    """Let `args.yaml` be that of a version without a setting; return its text."""
    file = directory / "args.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}:")]
    file.write_text("\n".join(lines) + "\n")
    return file.read_text()


def test_a_run_that_was_begun_with_pixels_of_pillow_is_refused(saves):
    directory = cut_short(saves(), at_update=10)
    before = without_setting(directory, "exact_decode")
    for _ in range(2):  # and again: nothing was added to its arguments
        with pytest.raises(ArgumentError, match="cannot go on exactly") as caught:
            resume_finetune(directory)
        assert "--init-from" in caught.value.hint
    assert (directory / "args.yaml").read_text() == before


@pytest.mark.parametrize("settings", [{"aug": False}, {"cache": "ram"}])
def test_a_run_whose_pixels_are_the_same_goes_on_without_the_setting(saves, settings):
    directory = cut_short(saves(**settings), at_update=10)
    without_setting(directory, "exact_decode")
    resume_finetune(directory)
    assert "exact_decode: false" in (directory / "args.yaml").read_text()


def test_a_run_of_such_pixels_that_is_over_stays_as_it_is(saves):
    directory = finetune(saves()).directory
    before = without_setting(directory, "exact_decode")
    watcher = Recorder()
    resume_finetune(directory, observer=watcher)
    assert any("is complete" in note for note in watcher.notes)
    assert (directory / "args.yaml").read_text() == before


def truncated(content):
    return content[:1000]


def empty(content):
    return b""


def flipped(content):
    """One bit of a tensor is another: torch itself would load that."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [truncated, empty, flipped])
def test_a_damaged_state_gives_way_to_the_one_before_it(saves, damage):
    expected = finetune(saves())
    directory = cut_short(saves(), at_update=10)
    last = directory / "checkpoints/last.pt"
    last.write_bytes(damage(last.read_bytes()))
    observer = Recorder()
    resume_finetune(directory, observer=observer)
    assert any("last.pt cannot be resumed from" in note for note in observer.notes)
    assert any("goes on from the state before it: step 6." in note for note in observer.notes)
    assert observer.steps[0].update == 7
    assert_same_weights(state(expected.directory)["model"], state(directory)["model"])
    assert rows(directory) == rows(expected.directory)


def test_the_good_state_survives_a_second_kill_after_the_fallback(saves):
    directory = cut_short(saves(), at_update=10)
    (directory / "checkpoints/last.pt").write_bytes(b"")
    with pytest.raises(RuntimeError, match="power cut"):
        resume_finetune(directory, observer=Recorder(at_update=7, do=power_cut))
    assert state(directory)["progress"]["updates"] == 6


def test_a_newest_state_that_is_gone_gives_way_to_the_one_before_it(saves):
    expected = finetune(saves())
    directory = cut_short(saves(), at_update=10)
    (directory / "checkpoints/last.pt").unlink()
    observer = Recorder()
    resume_finetune(directory, observer=observer)
    assert any("goes on from the state before it: step 6." in note for note in observer.notes)
    assert_same_weights(state(expected.directory)["model"], state(directory)["model"])


def test_two_damaged_states_are_an_error_that_names_the_newer(saves):
    directory = cut_short(saves(), at_update=10)
    for name in ("last", "previous"):
        (directory / f"checkpoints/{name}.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match=r"last\.pt cannot be resumed from"):
        resume_finetune(directory)


def test_a_run_that_was_killed_before_its_first_state_starts_over(asked):
    expected = finetune(asked())
    directory = cut_short(asked(), at_update=1)
    for path in (directory / "checkpoints").iterdir():
        path.unlink()
    observer = Recorder()
    resume_finetune(directory, observer=observer)
    assert any("was saved yet: it starts over" in note for note in observer.notes)
    assert_same_weights(
        weights(expected.directory / "checkpoints/last.pt"),
        weights(directory / "checkpoints/last.pt"),
    )


def test_a_kill_between_the_state_and_its_names_is_made_good(asked, monkeypatch):
    original = CheckpointStore.save

    def cut(self, payload, also_as=()):
        original(self, payload)
        if also_as:
            power_cut()

    observer = Recorder()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="power cut"):
        patched.setattr(CheckpointStore, "save", cut)
        finetune(asked(epochs=1), observer=observer)
    directory = observer.plans[0].directory
    assert not (directory / "checkpoints/best.pt").exists()
    result = resume_finetune(directory)
    names = {path.name for path in (directory / "checkpoints").iterdir()}
    assert names == {"last.pt", "previous.pt", "best.pt", "epoch-1.pt"}
    assert json.loads((directory / "result.json").read_text())["best"] == result.best
    assert all(path.exists() for path in result.exported.values())


def test_what_a_killed_run_left_half_written_is_cleared_away(saves):
    directory = cut_short(saves(), at_update=5)
    left = directory / "checkpoints/.last.pt.1.tmp"
    left.write_bytes(b"half")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "upd')
    resume_finetune(directory)
    assert not left.exists()
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(1, 13))


def hold(directory, held):
    with RunDirectory(directory).in_use():
        held.set()
        time.sleep(600)


def test_a_run_that_is_under_way_is_not_resumed_beside_itself(saves):
    directory = cut_short(saves(), at_update=5)
    held = fork_server.CONTEXT.Event()
    other = fork_server.start(hold, directory, held)
    try:
        assert held.wait(60)
        with pytest.raises(ArgumentError, match="is under way in another process"):
            resume_finetune(directory)
    finally:
        other.kill()
        other.join()
    with RunDirectory(directory).in_use():
        pass


def test_data_that_moved_may_be_named_anew_but_nothing_may_be_missing(saves, tmp_path):
    root = write_toy_data(tmp_path / "here")
    directory = cut_short(saves(data=str(root)), at_update=5)
    moved = shutil.move(root, tmp_path / "there")
    observer = Recorder()
    with pytest.raises(RuntimeError, match="power cut"):
        resume_finetune(
            directory,
            changes={"data": str(moved)},
            observer=Recorder(at_update=6, do=power_cut),
        )
    (tmp_path / "there/train/red/3.png").unlink()
    with pytest.raises(DataError, match="1 of 36 images cannot be read") as caught:
        resume_finetune(directory, observer=observer)
    assert "3.png: There is no such file." in caught.value.reason
    assert "Restore the image, or add --on-bad-image skip" in caught.value.hint


def test_a_full_disk_is_a_warning_until_there_have_been_too_many(saves):
    """Room comes back after the first failed save: nothing is lost, and no line is missing."""

    class Filling(Recorder):
        def on_step(self, record):
            super().on_step(record)
            if record.update == 3:
                self.disk = full_disk(20_000)
                self.disk.__enter__()
            if record.update == 5:
                self.disk.__exit__(None, None, None)

    expected, observer = finetune(saves()), Filling()
    result = finetune(saves(), observer=observer)
    warnings = [note for note in observer.notes if "could not be saved" in note]
    assert len(warnings) == 1
    assert warnings[0].startswith("Step 4 could not be saved (1 of 3 in a row): ")
    assert rows(result.directory) == rows(expected.directory)
    lines = (result.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(1, 13))


def test_too_many_failed_saves_end_the_run_with_the_last_state_intact(saves):
    class Filling(Recorder):
        disk = full_disk(20_000)

        def on_step(self, record):
            super().on_step(record)
            if record.update == 7:
                self.disk.__enter__()

    observer = Filling()
    request = saves(epochs=9, save_retries=1)
    with pytest.raises(SaveError, match="cannot be written") as caught:
        try:
            finetune(request, observer=observer)
        finally:
            observer.disk.__exit__(None, None, None)
    assert len(observer.steps) == 12  # saves after update 8 and at the end of epoch 2 failed
    assert "--resume" in caught.value.hint
    directory = observer.plans[0].directory
    assert state(directory)["progress"]["updates"] == 6
    assert resume_finetune(directory, changes={"epochs": 2}).epochs == 2


def test_an_epoch_whose_model_could_not_be_written_is_not_called_the_best(asked, monkeypatch):
    from covtool.training.loop import saving

    original = saving.export

    def failing(parts, path, *, epochs, **how):
        if epochs == 2:
            raise OSError(28, "No space left on device")
        return original(parts, path, epochs=epochs, **how)

    monkeypatch.setattr(saving, "export", failing)
    request = asked(epochs=3, eval_metric="loss", lr=0.01, sched="constant")
    result = finetune(request)
    losses = [float(row["eval_loss"]) for row in rows(result.directory)]
    assert result.best == min(losses[0], losses[2])
    metrics = {m.name: m.value for m in load(result.exported["best"]).recipe.provenance.metrics}
    assert metrics["loss"] == result.best


def test_a_run_does_not_get_fewer_epochs_than_it_has_begun(saves):
    directory = cut_short(saves(), at_update=10)
    with pytest.raises(
        ArgumentError, match=r"With --epochs 1 .* but it has begun epoch 2"
    ) as caught:
        resume_finetune(directory, changes={"epochs": 1})
    assert "The weights cannot go back" in caught.value.hint
    assert resume_finetune(directory).epochs == 2


def test_a_run_that_gets_fewer_epochs_than_it_has_done_is_over_with_a_last_model(asked):
    directory = cut_short(asked(epochs=3), at_epoch=2)
    result = resume_finetune(directory, changes={"epochs": 2})
    assert result.epochs == 2
    model = load(result.exported["last"]).state_dict()
    assert_same_weights(weights(directory / "checkpoints/last.pt"), model)


def test_another_number_of_epochs_says_what_it_does_to_the_learning_rate(asked):
    directory = cut_short(asked(epochs=2, sched="cosine", lr=0.1, min_lr=0.0), at_epoch=1)
    observer = Recorder()
    resume_finetune(directory, changes={"epochs": 4}, observer=observer)
    (note,) = (text for text in observer.notes if text.startswith("The learning rate"))
    assert re.search(r"goes on at 0\.08\d+, as --sched cosine over 4 epochs", note)
    assert note.endswith("over 2 it was 0.05.")
    assert f"{observer.steps[0].lr:.3g}" in note


def test_a_run_of_a_version_that_sorted_numbers_as_text_goes_on(tmp_path, asked, monkeypatch):
    data = write_toy_data(tmp_path / "numbers")
    for split in ("train", "val"):
        for color, number in zip(COLORS, ("9", "10", "2"), strict=True):
            (data / split / color).rename(data / split / number)
    request = asked(data=str(data))
    with monkeypatch.context() as before:
        before.setattr("covtool.data.datasets.layout.in_order", lambda names: sorted(set(names)))
        expected = finetune(request)
        directory = cut_short(request, at_epoch=1)
    assert load(expected.exported["last"]).recipe.class_names == ("10", "2", "9")
    result = resume_finetune(directory)
    first, second = (weights(r.directory / "checkpoints/last.pt") for r in (expected, result))
    assert_same_weights(first, second)
    assert load(result.exported["last"]).recipe.class_names == ("10", "2", "9")
    fresh = finetune(request)
    assert load(fresh.exported["last"]).recipe.class_names == ("2", "9", "10")


def test_a_model_goes_on_with_its_own_order_of_the_same_classes(asked, tmp_path):
    model = finetune(asked(epochs=1)).exported["last"]
    names = load(model).recipe.class_names
    turned = load(model)
    turned.recipe = turned.recipe.model_copy(update={"class_names": names[::-1]})
    other = save(turned, tmp_path / "turned.safetensors")
    slow = {"lr": 1e-9, "warmup_lr": 1e-9, "epochs": 1}
    result = finetune(asked(model=str(other), from_scratch=False, **slow))
    trained = load(result.exported["last"])
    assert trained.recipe.class_names == names[::-1]
    torch.testing.assert_close(trained.fc.weight, turned.fc.weight)

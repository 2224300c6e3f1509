"""Pages about runs: what the files of a run say is there, and what is missing is said."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from html_checks import raw_names, require_sound
from svdnet_runs import write_svdnet_run
from svdnet_training import svdnet_request, write_data, write_eigen_model
from toy_data import write_toy_data
from training_runs import Recorder, make_request

from covtool.errors import ArgumentError, DataError
from covtool.reporting.run_evaluation import Evaluated, evaluated_run
from covtool.reporting.run_page import report_runs
from covtool.reporting.run_sections import variation_in_words
from covtool.run_files import final_figures, read_settings
from covtool.specs import AugmentationSpec
from covtool.training import finetune, repeat_finetune
from covtool.training.run.run import Run
from covtool.training.start.revisiting import first_images, parameter_groups_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    recorder = Recorder()
    made = finetune(make_request(data, tmp_path_factory.mktemp("runs"), gc=True), observer=recorder)
    return made.directory, recorder


def words_of(page: str) -> str:
    """Return the text of a page with plain spaces."""
    return " ".join(require_sound(page).text.split())


def test_the_page_of_a_run_has_its_sections_figures_and_tables(trained: tuple) -> None:
    run, recorder = trained
    result = report_runs([run])
    assert result.path == run / "report/index.html"
    text = result.path.read_text()
    for title in ("Curves", "Training images as the network saw them", "Parameter groups"):
        assert f">{title}<" in text
    assert text.count("data:image/jpeg;base64,") == 6
    assert "labels are smoothed by 0.1" in text
    assert f"covtool finetune --config {run}/args.yaml" in text
    assert "peak memory" in text
    assert f"--report {run}/evaluation" in text
    assert ": cut, mirrored and colored at random as in the run, before they are" in words_of(text)
    assert "top-1 (%)" in text and raw_names(text) == []
    with (run / "report/tables/epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["eval_loss"]) for row in rows] == pytest.approx(
        [epoch.eval_loss for epoch in recorder.epochs]
    )


def test_a_page_of_a_run_is_replaced_and_other_things_are_not(
    trained: tuple, tmp_path: Path
) -> None:
    run, _ = trained
    first = report_runs([run]).path.read_bytes()
    assert report_runs([run]).path.read_bytes() == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="is not the folder of a page"):
        report_runs([run], tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


def test_the_images_are_those_of_the_first_batch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watch(run: Run) -> None:
        loader = run.parts.training_batches
        normalize = loader._normalize
        loader._normalize = lambda images: seen.append(images.clone()) or normalize(images)

    monkeypatch.setattr("covtool.training.loop.fit.watch_images", watch)
    run = finetune(make_request(data, tmp_path, epochs=1)).directory
    before = torch.random.get_rng_state()
    made = first_images(run, at_most=4)
    assert torch.equal(made.pixels, seen[0][:4])
    assert [path.parent.name for path in made.paths] == list(made.classes)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_erased_images_are_shown_as_pixels(data: Path, tmp_path: Path) -> None:
    run = finetune(make_request(data, tmp_path, epochs=1, reprob=1.0)).directory
    pixels = first_images(run, at_most=6).pixels
    assert pixels.dtype == torch.uint8
    assert 0 < pixels.float().mean() < 255


@pytest.mark.parametrize("options", [{}, {"freeze": ("backbone",), "head_lr_mult": 3.0}])
def test_the_parameter_groups_are_those_of_the_run(
    data: Path, tmp_path: Path, options: dict
) -> None:
    recorder = Recorder()
    run = finetune(make_request(data, tmp_path, epochs=1, **options), observer=recorder).directory
    assert parameter_groups_of(run) == recorder.plans[0].groups


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "cut, mirrored and colored at random as in the run"),
        ({"aug": False}, "prepared as for evaluation, as in the run (--no-aug)"),
        ({"hflip": 0, "color_jitter": 0}, "cut at random as in the run"),
        ({"hflip": 0, "vflip": 0.5, "color_jitter": 0}, "cut and mirrored at random"),
        ({"aa": "trivial", "reprob": 0.5}, "cut, mirrored, varied by --aa trivial and erased in"),
    ],
)
def test_the_variation_of_images_is_that_of_the_run(settings: dict, words: str) -> None:
    assert variation_in_words(AugmentationSpec(**settings)).startswith(words)


def test_images_that_are_as_for_evaluation_are_said_to_be(data: Path, tmp_path: Path) -> None:
    run = finetune(make_request(data, tmp_path, epochs=1, aug=False)).directory
    words = words_of(report_runs([run]).path.read_text())
    assert "prepared as for evaluation, as in the run (--no-aug), before they are" in words
    assert "at random as in the run" not in words


def test_images_that_are_gone_are_said_to_be(trained: tuple, tmp_path: Path) -> None:
    run, _ = trained
    settings = (run / "args.yaml").read_text()
    lines = [f"data: {tmp_path}/gone" if x.startswith("data:") else x for x in settings.split("\n")]
    (run / "args.yaml").write_text("\n".join(lines))
    try:
        text = report_runs([run], tmp_path / "page").path.read_text()
    finally:
        (run / "args.yaml").write_text(settings)
    assert "The images cannot be shown." in text
    assert "data:image" not in text


def test_half_steps_have_a_section(tmp_path: Path) -> None:
    run = write_svdnet_run(tmp_path / "rri", 2)
    (run / "args.yaml").write_text("eval_metric: rank1\nepochs: 9\n")
    text = report_runs([run]).path.read_text()
    assert ">Restraint and relaxation<" in text
    assert "rank-1 / Recall@1 (%)" in text and raw_names(text) == []
    assert "The spectra of W cannot be shown." in text
    assert "The run is not complete" in text
    assert "The loss is that of training" in text  # a search has none
    assert (run / "report/figures/half-steps.svg").is_file()


def test_spectra_of_many_half_steps_are_drawn_in_even_steps(tmp_path: Path) -> None:
    run = write_svdnet_run(tmp_path / "rri", 2)
    (run / "args.yaml").write_text("eval_metric: rank1\nepochs: 9\n")
    names = ["start", "base"] + [
        f"{w} {n}" for n in range(1, 8) for w in ("restraint", "relaxation")
    ]
    lines = [
        {"epoch": n, "phase": name, "singular_values": [2.0, 1.0 + n / 100, 0.5]}
        for n, name in enumerate(names)
    ]
    (run / "spectra.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    text = report_runs([run]).path.read_text()
    assert "8 of 16 are drawn." in text
    drawn = (run / "report/figures/spectra.svg").read_text()
    assert [name for name in names if f">{name}<" in drawn or f"<!-- {name} -->" in drawn] == [
        *("start", "base", "relaxation 1", "relaxation 2"),
        *("relaxation 4", "relaxation 5", "relaxation 6", "relaxation 7"),
    ]
    (run / "spectra.jsonl").write_text('{"epoch": 1, "phase": "base", "singular_values": [1, 2]}\n')
    damaged = report_runs([run], tmp_path / "again").path.read_text()
    assert "The spectra of W cannot be shown." in damaged
    assert "spectra.jsonl, line 1, is damaged." in damaged


def test_several_runs_stand_side_by_side_with_mean_and_deviation(
    data: Path, tmp_path: Path
) -> None:
    runs = [finetune(make_request(data, tmp_path, seed=seed)).directory for seed in (1, 2)]
    with pytest.raises(ArgumentError, match="2 runs have no folder of their own"):
        report_runs(runs)
    text = report_runs(runs, tmp_path / "page").path.read_text()
    assert "mean of the best" in text
    assert "not over repeats" not in text
    assert "largest best top-1 (%)" in text
    assert raw_names(text) == []
    tables = {}
    for name in ("runs", "differing-settings"):
        with (tmp_path / f"page/tables/{name}.csv").open() as file:
            tables[name] = list(csv.DictReader(file))
    first, second, mean, deviation = (float(row["eval_loss"]) for row in tables["runs"])
    assert mean == pytest.approx(np.mean([first, second]))
    assert deviation == pytest.approx(np.std([first, second], ddof=1))
    assert [row["setting"] for row in tables["differing-settings"]] == ["seed"]
    for run in runs:  # the best epoch need not be that of the largest top-1 then
        settings = (run / "args.yaml").read_text()
        (run / "args.yaml").write_text(settings.replace("eval_metric: top1", "eval_metric: loss"))
    text = report_runs(runs, tmp_path / "page", overwrite=True).path.read_text()
    assert "largest best validation loss (nats)" in text
    assert "top-1 (%)<" not in text.partition("Curves")[0]
    arguments = runs[1] / "args.yaml"
    arguments.write_text(arguments.read_text().replace("eval_metric: loss", "eval_metric: top1"))
    text = report_runs(runs, tmp_path / "page", overwrite=True).path.read_text()
    assert "largest top-1 (%) at the best epochs" in text
    arguments.write_text(arguments.read_text().replace("eval_metric: top1", "eval_metric: loss"))
    lines = arguments.read_text().splitlines()
    other = ["smoothing: 0.0" if line.startswith("smoothing:") else line for line in lines]
    assert other != lines
    arguments.write_text("\n".join(other))
    text = require_sound(report_runs(runs, tmp_path / "page", overwrite=True).path.read_text()).text
    assert "training losses are not the same measure, as --smoothing differs" in text
    assert "The runs differ in --smoothing: mean and deviation are over these settings" in text


def with_result(run: Path, **values: object) -> Path:
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, **values}))
    return run


def test_runs_that_are_guesses_or_ended_early_say_so_on_every_page(
    data: Path, tmp_path: Path
) -> None:
    first, second, third = (
        finetune(make_request(data, tmp_path, seed=seed, epochs=1)).directory for seed in (1, 2, 3)
    )
    with_result(first, is_chance=True, stopped_early=True)
    alone = require_sound(report_runs([first]).path.read_text()).text
    assert "no better than a guess" in alone and "ended early" in alone
    with_result(second, is_chance=False, stopped_early=False)
    (third / "result.json").unlink()
    page = require_sound(report_runs([first, second, third], tmp_path / "page").path.read_text())
    label = first.name
    assert f"1 of 3 runs ({label}) is no better than a guess" in page.text
    assert f"1 of 3 runs ({label}) ended early, before the last epoch." in page.text
    assert f"1 of 3 runs is not complete: {third.name}." in page.text
    assert f"{label}, no better than a guess, ended early" in page.text  # of a tile
    assert "of 3 runs; 1 of them no better than a guess" in page.text
    with (tmp_path / "page/tables/runs.csv").open() as file:
        remarks = [row["remark"] for row in csv.DictReader(file)]
    assert remarks == ["no better than a guess, ended early", "", "", "", ""]


def test_the_notes_of_a_run_are_at_the_head_of_its_page(trained: tuple, tmp_path: Path) -> None:
    run, _ = trained
    notes = [f"Update {number} was skipped <once>." for number in range(1, 41)]
    file = run / "notes.jsonl"
    before = file.read_text() if file.exists() else ""
    file.write_text("".join(json.dumps({"note": note}) + "\n" for note in notes))
    try:
        page = require_sound(report_runs([run], tmp_path / "page").path.read_text())
        assert [note in page.text for note in notes] == [True] * 30 + [False] * 10
        assert "There are 10 more notes: notes.jsonl has all of them." in page.text
        file.write_text("[]\n")
        with pytest.raises(DataError, match=r"notes\.jsonl, line 1, is damaged"):
            report_runs([run], tmp_path / "other")
    finally:
        file.write_text(before)


def test_the_page_of_several_runs_has_the_notes_of_each(data: Path, tmp_path: Path) -> None:
    request = make_request(data, tmp_path, seeds=2, epochs=1, experiment="two")
    folder = repeat_finetune(request).directory
    with (folder / "notes.jsonl").open("a") as file:
        file.write('{"note": "seed-42: Update 3 was skipped."}\n')
    text = require_sound(report_runs([folder]).path.read_text()).text
    assert "seed-42: Update 3 was skipped." in text
    runs = sorted(folder.glob("seed-*"))
    (runs[1] / "notes.jsonl").write_text('{"note": "Update 5 was skipped."}\n')
    text = require_sound(report_runs(runs, tmp_path / "page").path.read_text()).text
    assert "seed-43: Update 5 was skipped." in text


def test_what_is_no_run_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not the folder of a run"):
        report_runs([tmp_path / "empty"])
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_run_that_is_named_twice_is_refused(trained: tuple, tmp_path: Path) -> None:
    run, _ = trained
    with pytest.raises(ArgumentError, match="is named twice"):
        report_runs([run, run / "../" / run.name], tmp_path / "page")
    assert not (tmp_path / "page").exists()


def evaluated_here(run: Path) -> Evaluated:
    return evaluated_run(run, device="cpu", batch_size=4, workers=0)


def test_the_page_of_a_run_ends_with_its_evaluation(trained: tuple, tmp_path: Path) -> None:
    run, recorder = trained
    best = max(epoch.top_1 for epoch in recorder.epochs)
    result = report_runs([run], tmp_path / "page", evaluator=evaluated_here)
    page = require_sound(result.path.read_text())
    assert result.notes == ()
    assert {"#curves", "#evaluation", "#confusion", "#mistakes", "#how"} <= set(page.links)
    assert f"{best:.2f} %" in page.text  # the run's own figure, measured again
    with (tmp_path / "page/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (run / "images.csv").open() as file:
        validated = [row["path"] for row in csv.DictReader(file) if row["split"] == "val"]
    assert [row["path"] for row in rows] == [
        str(Path(read_settings(run / "args.yaml")["data"]) / path) for path in validated
    ]


def test_the_page_of_a_run_that_was_judged_by_a_search_ends_with_that_search(
    tmp_path: Path,
) -> None:
    people = write_data(tmp_path / "people")
    result = finetune(svdnet_request(write_eigen_model(tmp_path), people, tmp_path / "runs"))
    page = report_runs([result.directory], tmp_path / "page", evaluator=evaluated_here)
    assert page.notes == ()
    found = require_sound(page.path.read_text())
    sections = {"#curves", "#half-steps", "#evaluation", "#found", "#queries", "#identities"}
    assert sections <= set(found.links)
    best = final_figures(result.directory).figures["best_eval_mAP"]
    assert f"{best:.2f} %" in found.text  # the run's own figure, measured again
    assert "which the run was judged by" in found.text


def test_images_that_a_run_left_out_are_not_evaluated(data: Path, tmp_path: Path) -> None:
    run = finetune(make_request(data, tmp_path, epochs=1)).directory
    lines = (run / "images.csv").read_text().splitlines()
    place = next(k for k, line in enumerate(lines) if ",val," in line)
    left_out = lines[place].split(",")[0]
    lines[place] += "yes"
    (run / "images.csv").write_text("\n".join(lines) + "\n")
    done = evaluated_here(run).done
    assert len(done.paths) == sum(",val," in line for line in lines) - 1
    assert data / left_out not in done.paths


def test_an_evaluation_that_fails_is_told_on_the_page(data: Path, tmp_path: Path) -> None:
    run = finetune(make_request(data, tmp_path, epochs=1)).directory
    (run / "exported/best.safetensors").unlink()
    result = report_runs([run], evaluator=evaluated_here)
    (note,) = result.notes
    assert note.startswith("The evaluation cannot be shown.") and "best.safetensors" in note
    page = require_sound(result.path.read_text())
    assert note in page.text
    assert "#confusion" not in page.links
    other = finetune(make_request(data, tmp_path, epochs=1, seed=2)).directory
    with pytest.raises(ArgumentError, match="One run is evaluated"):
        report_runs([run, other], tmp_path / "page", evaluator=evaluated_here)

"""`covtool compare` as it is typed."""

import json
import math
import shlex
from csv import DictReader
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from comparing_cases import write_checkpoint, write_identities, write_stripes
from comparison_rows import compared_row, comparison_of

from covtool.comparing import preparing
from covtool.comparing.retrieval_estimates import TrainingSearch
from covtool_cli.commands import compare
from covtool_cli.main import run
from covtool_cli.table_layout import widths


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "net.pth")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def called(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    return ended.value.code or 0


def asked(checkpoint: Path, data: Path, *more: object) -> tuple[object, ...]:
    small = ("--img-size", 64, "--head", "gap", "--head", "isqrt:dim=8", "-b", 8, "-j", 0)
    return ("compare", checkpoint, "--data", data, *small, *more)


def test_table_marks_rows_and_ends_with_the_command_to_type(checkpoint, data, capsys) -> None:
    assert called(*asked(checkpoint, data)) == 0
    shown = capsys.readouterr()
    assert "left-out top-1 (%)" in shown.out
    assert "isqrt:dim=8 @ bn2" in shown.out
    assert "kept in memory" in shown.err
    line = next(line for line in shown.out.splitlines() if line.startswith("  covtool convert"))
    assert called(*shlex.split(line)[1:], "-o", "out.safetensors") == 0


@pytest.mark.parametrize(
    "figures",
    [{"left_out_loss": 0.75}, {"left_out_loss": None, "rank_1": 50.0}],
    ids=["classes", "identities"],
)
def test_the_table_fits_into_eighty_columns_and_wide_adds_to_it(figures) -> None:
    row = compared_row("effnet isqrt:dim=256 @ blocks.6.0.conv_pwl", 71.2, **figures)
    found = {}
    for wide in (False, True):
        titles, cells = zip(*compare._cells(row, "left-out top-1", wide=wide), strict=True)
        found[wide] = titles
        if not wide:
            numeric = [title not in ("", "head", "95 %") for title in titles]
            assert widths(titles, [cells], 80, numeric=numeric) is not None
    assert [title for title in found[True] if title in found[False]].count("95 %") == 2
    added = set(found[True]) - set(found[False])
    assert added == {"features", "parameters", "MiB"} | (
        {"loss"} if row.left_out_loss is not None else set()
    )


def test_json_is_one_object(checkpoint, data, capsys) -> None:
    assert called(*asked(checkpoint, data, "--json", "--convert", "-o", "out.safetensors")) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["comparison"]["rows"]
    best = next(row for row in rows if row["recommended"])
    calibration = found["converted"]["calibration"]
    assert calibration["left_out_top_1"] == best["figure"]
    assert calibration["left_out_loss"] == best["left_out_loss"] > 0
    assert Path("out.safetensors").exists()


def test_convert_shows_the_notes_that_the_comparison_did_not_have(checkpoint, data, capsys) -> None:
    assert called(*asked(checkpoint, data, "--convert", "-o", "out.safetensors")) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "rests on 42 images: it is a rough one" in told
    # Both have notes on how the images are prepared; once is enough.
    assert told.count("note: ") == len(set(told.split("note: ")[1:]))


def test_of_several_models_notes_with_their_names_are_not_told_again(capsys) -> None:
    row = compared_row("gap", 60, checkpoint="a.pth", recommended=True)
    done = replace(comparison_of([row]), notes=("a.pth: as always", "b.pth: new", "of the data"))
    plan = SimpleNamespace(notes=("as always", "of the data"))
    compare._tell_untold(done, SimpleNamespace(plan=plan, notes=("new", "new")))
    assert capsys.readouterr().err.split("\n") == ["note: new", ""]


def test_identities_are_told_with_their_queries_and_that_they_are_few(
    checkpoint, data, capsys, tmp_path, monkeypatch
) -> None:
    sampled = partial(TrainingSearch, most_queries=20)
    monkeypatch.setattr(preparing, "TrainingSearch", sampled)
    listed = write_identities(data, tmp_path / "list.csv", per_identity=14)
    assert called(*asked(checkpoint, listed, "--tap", "bn2")) == 0
    shown = capsys.readouterr()
    assert "20 queries in 42 images of 3 identities" in shown.out
    assert "* too few identities to tell from the best" in shown.out
    assert "within the noise" not in shown.out
    told = " ".join(shown.err.split())
    assert "20 of 42 images that have a match are searched for" in told
    assert called(*asked(checkpoint, listed, "--tap", "bn2", "--json")) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]
    assert found["queries"] == 20
    assert {row["left_out_loss"] for row in found["rows"]} == {None}
    assert any("an interval needs 5" in note for note in found["notes"])


def test_enough_images_are_told_by_the_noise_and_few_are_not(capsys) -> None:
    rows = [compared_row("gap", 60, recommended=True), compared_row("mpn", 40, near_best=False)]
    assert compare._on_noise(comparison_of(rows)).endswith(
        "interval of the difference: 1 of 2 rows"
    )
    few = [replace(row, interval=(math.nan, math.nan), near_best=True) for row in rows]
    assert compare._on_noise(comparison_of(few)).startswith("* too few images")


def test_the_smallest_loss_is_named_where_another_row_is_recommended(capsys) -> None:
    chosen = compared_row("gap", 60, recommended=True, left_out_loss=1.2)
    for loss, is_named in ((1.1, True), (1.3, False), (None, False)):
        rows = [chosen, compared_row("mpn", 60, left_out_loss=loss)]
        compare._show(comparison_of(rows), wide=False)
        shown = " ".join(capsys.readouterr().out.split())
        assert ("The smallest left-out loss: mpn, 1.100 in place of 1.200" in shown) is is_named
    # A row may have none, where its logits are not finite: the columns stay those of all rows.
    without = replace(chosen, left_out_loss=None)
    compare._show(comparison_of([without, compared_row("mpn", 60, left_out_loss=1.1)]), wide=True)
    assert "mpn, 1.100 in place of none" in " ".join(capsys.readouterr().out.split())
    titles = [[t for t, _ in compare._cells(r, "top-1", wide=True)] for r in (chosen, without)]
    assert titles[0] == titles[1]
    searched = comparison_of([replace(chosen, left_out_loss=None, rank_1=50.0)])
    assert searched.likeliest is None


def test_rows_that_cannot_be_drawn_are_in_the_notes() -> None:
    rows = [compared_row("gap", 60), compared_row("mpn", 40, ms_per_image=math.nan)]
    done = compare._written(comparison_of(rows), None, Path("rows.svg"), overwrite=False)
    assert done.notes == ("1 row has no figure or no ms and cannot be drawn.",)


def test_files_are_written_and_not_replaced(checkpoint, data, capsys) -> None:
    assert called(*asked(checkpoint, data, "--csv", "rows.csv")) == 0
    assert Path("rows.csv").read_text().count("\n") == 7
    with Path("rows.csv").open() as file:
        assert all(float(row["left_out_loss"]) > 0 for row in DictReader(file))
    assert called(*asked(checkpoint, data, "--csv", "rows.csv")) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong, said",
    [
        (("-o", "out.safetensors"), "Add --convert"),
        (("-o", "out.pth"), "must end in one of .png, .svg, .pdf, .safetensors"),
        (("-o", "a.svg", "-o", "b.svg"), "-o takes one figure"),
        (("--csv", "rows.txt"), "rows.csv"),
        (("--head", "isqr"), "Did you mean 'isqrt'"),
        (("--tap", "block.4.0"), "Did you mean"),
        (("--memory", "much"), "--memory"),
        (("--img-size", "big"), "--img-size"),
        (("--pairs", "-1"), "--pairs"),
    ],
    ids=str,
)
def test_mistakes_are_usage_errors(wrong, said, checkpoint, data, capsys) -> None:
    assert called(*asked(checkpoint, data, *wrong)) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_missing_data_and_checkpoints_have_their_exit_codes(checkpoint, data) -> None:
    assert called("compare", checkpoint, "--data", "nowhere") == 4
    assert called("compare", "no.pth", "--data", data) == 3


def test_figure_is_drawn(checkpoint, data) -> None:
    pytest.importorskip("covtool.plotting.comparison")
    assert called(*asked(checkpoint, data, "-o", "rows.svg")) == 0
    assert Path("rows.svg").read_text().lstrip().startswith("<?xml")

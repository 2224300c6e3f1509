"""`covtool plot rri`, on what `covtool svdnet-rri` writes."""

import json

import pytest
from PIL import Image
from svdnet_runs import phases_of, write_svdnet_run

from covtool.plotting.half_steps import read_half_steps


def test_half_steps_are_drawn_and_shown(covtool, tmp_path):
    write_svdnet_run(tmp_path / "us", 2)
    code, out, err = covtool("plot", "rri", "us")
    assert code == 0, err
    assert "Drawn: rri.png (correlation, eigenvalue, rank-1, map)" in out
    shown = [line.split("│")[1].strip() for line in out.splitlines() if "│" in line]
    assert shown == phases_of(2)
    assert all(column in out for column in ("S(W)", "train loss", "rank-1", "mAP"))
    with Image.open(tmp_path / "rri.png") as image:
        assert image.format == "PNG"


def test_json_has_every_half_step_of_every_run(covtool, tmp_path):
    for name in ("us", "qr"):
        write_svdnet_run(tmp_path / name, 1)
    code, out, err = covtool(
        *("plot", "rri", "us", "qr", "--label", "US", "--label", "QR", "--show", "map"),
        *("-o", "both.svg", "--json"),
    )
    assert code == 0, err
    result = json.loads(out)
    assert (result["path"], result["panels"]) == ("both.svg", ["map"])
    assert [run["label"] for run in result["runs"]] == ["US", "QR"]
    steps = read_half_steps(tmp_path / "qr")
    for shown, step in zip(result["runs"][1]["half_steps"], steps, strict=True):
        assert shown == {name: getattr(step, name) for name in step.__dataclass_fields__}


def test_curves_of_the_run_are_drawn_as_well(covtool, tmp_path):
    write_svdnet_run(tmp_path / "us", 1)
    code, out, err = covtool("plot", "run", "us")
    assert code == 0, err
    assert "Drawn: run.png (loss, metric, correlation, lr)" in " ".join(out.split())
    assert "eval_rank1" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rri"], 2, "No run is given"),
        (["rri", "none"], 4, "none is not the folder of a run"),
        (["rri", "us", "--show", "lr"], 2, "Available: correlation, eigenvalue, rank-1, map"),
        (["rri", "us", "--smooth", 2], 2, "takes no --smooth. It belongs to covtool plot run."),
        (["rri", "us", "--radius", 2], 2, "covtool plot rri takes no --radius"),
        (["operator", "--label", "a"], 2, "It belongs to covtool plot run and rri."),
        (["rri", "finetuned"], 4, "covtool plot run finetuned"),
    ],
)
def test_mistakes_are_told(covtool, tmp_path, arguments, code, message):
    write_svdnet_run(tmp_path / "us", 1)
    (tmp_path / "finetuned").mkdir()
    (tmp_path / "finetuned/summary.csv").write_text("epoch,eval_top1\n0,50\n")
    found, _, err = covtool("plot", *arguments)
    assert message in " ".join(err.split())
    assert found == code
    assert not (tmp_path / "rri.png").exists()

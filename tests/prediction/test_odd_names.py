"""Names of files that are no text, or that CSV has to quote, survive in every format."""

import csv
import json
import os
from dataclasses import replace

import pyarrow.parquet
import pytest
import torch
from images import write_image

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.errors import InterruptedRunError
from covtool.prediction.predicting import predict_images
from covtool.prediction.request import PredictionRequest
from covtool.specs import BaseSpec, InputSpec, PredictionSpec, Provenance, Recipe

ODD = ["a,b.png", 'q"uote.png', "line\nbreak.png", "ünï.png", os.fsdecode(b"\xff\xfe.png")]
NAMES = ("plain", 'with "quotes", and\na line')


@pytest.fixture
def asked(tmp_path):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=2)
    model.recipe = Recipe(
        base=base,
        num_classes=2,
        class_names=NAMES,
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    for name in ODD:
        write_image(tmp_path / "odd" / name)
    return PredictionRequest(
        source=str(save(model, tmp_path / "net.safetensors")),
        images=(str(tmp_path / "odd"),),
        spec=PredictionSpec(logits=True),
        batch_size=2,
        workers=0,
        device="cpu",
        output=tmp_path / "x.csv",
        sheet=tmp_path / "x.png",
    )


def read(output):
    if output.suffix == ".parquet":
        return pyarrow.parquet.read_table(output).to_pylist()
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text().splitlines()]
    with output.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def stopped(iterable, description, total):
    for number, item in enumerate(iterable):
        if number == 2:
            raise KeyboardInterrupt
        yield item


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_odd_names_survive_an_interruption(suffix, asked, tmp_path):
    output = tmp_path / f"x.{suffix}"
    asked = replace(asked, output=output)
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=stopped)
    predict_images(replace(asked, resume=True))
    rows = read(output)
    names = sorted(str(tmp_path / "odd" / name) for name in ODD)
    if suffix == "parquet":  # has UTF-8 only
        names = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    assert [row["path"] for row in rows] == names
    assert {row["class_1"] for row in rows} <= set(NAMES)
    assert f"logit_{NAMES[1]}" in rows[0]

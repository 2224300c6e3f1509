"""Predictions: those of an evaluation, in any number of processes, whole files, resumed."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from images import truncate, write_classes, write_image
from PIL import Image
from process_group import run_together

import covtool
from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    InterruptedRunError,
    NonFiniteError,
    OutputExistsError,
)
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.evaluation.features.files import read_features
from covtool.prediction.predicting import predict_images
from covtool.prediction.request import PredictionRequest
from covtool.specs import (
    BaseSpec,
    InputSpec,
    LaunchSpec,
    PredictionSpec,
    Provenance,
    Recipe,
    ScoreSpec,
)

CLASSES = ("a", "b", "c")
SCORES = ScoreSpec(temperature=2.5, method="validation", data="toy, val", images=9)


def make(**fields):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    torch.nn.init.normal_(model.get_classifier().weight, std=3)
    described = {
        "class_names": CLASSES,
        "input": InputSpec(size=(32, 32)),
        "provenance": Provenance(covtool_version="0"),
    }
    model.recipe = Recipe(base=base, num_classes=3, **{**described, **fields})
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with a model and images of three classes, left as it is."""
    folder = tmp_path_factory.mktemp("trained")
    save(make(), folder / "net.safetensors")
    write_classes(folder / "data" / "val", {"a": 4, "b": 5, "c": 2})
    return folder


@pytest.fixture
def asked(trained, tmp_path):
    return PredictionRequest(
        source=str(trained / "net.safetensors"),
        images=(str(trained / "data/val"),),
        output=tmp_path / "answers.csv",
        spec=PredictionSpec(logits=True),
        batch_size=4,
        workers=0,
        device="cpu",
        launch=LaunchSpec(dist_timeout=60),
    )


def rows_in(path: Path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def evaluated_logits(asked, samples):
    """Logits of the batches of an evaluation."""
    model = covtool.load(asked.source.name)
    loader = evaluation_loader(samples, model.recipe.input, batch_size=asked.batch_size, workers=0)
    with torch.no_grad():
        return torch.cat([model(images) for images, _ in loader])


def samples_in(asked):
    return [Sample(path, 0) for path in sorted(Path(asked.images[0]).rglob("*.png"))]


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 4), (2, 4), (0, 3), (2, 32)])
def test_rows_are_the_answers_of_an_evaluation(workers, batch_size, asked, trained):
    asked = replace(asked, workers=workers, batch_size=batch_size)
    predict_images(asked)
    rows = rows_in(asked.output)
    measured = evaluate(
        EvaluationRequest(
            source=asked.source,
            data=trained / "data",
            workers=0,
            batch_size=batch_size,
            device="cpu",
        )
    )
    assert [CLASSES.index(row["class_1"]) for row in rows] == list(measured.result.predictions)
    samples = samples_in(asked)
    assert [row["path"] for row in rows] == [str(sample.path) for sample in samples]
    logits = torch.tensor([[float(row[f"logit_{name}"]) for name in CLASSES] for row in rows])
    assert torch.equal(logits, evaluated_logits(asked, samples))  # to the last bit
    probabilities = logits.double().softmax(1).max(1).values
    assert [float(row["probability_1"]) for row in rows] == pytest.approx(
        probabilities.tolist(), rel=1e-8
    )


def predicted(rank, request):
    return replace(predict_images(request), files=())


@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_write_the_file_that_one_writes(world, asked, tmp_path):
    alone = predicted(0, asked)
    together = replace(asked, output=tmp_path / "together.csv")
    for done in run_together(predicted, together, world=world):
        assert done == alone
    assert together.output.read_bytes() == asked.output.read_bytes()


def test_two_processes_go_on_where_one_was_ended_and_an_image_is_bad(asked, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 4, "b": 5, "c": 2})
    truncate(data / "a/001.png")
    asked = replace(asked, images=(str(data),), batch_size=2)
    whole = replace(asked, output=tmp_path / "whole.csv")
    predict_images(whole)
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=Stopped(1))
    for done in run_together(predicted, replace(asked, resume=True), world=2):
        assert (done.tally.images, done.tally.failed, done.tally.resumed) == (11, 1, 2)
    assert asked.output.read_bytes() == whole.output.read_bytes()


def test_all_formats_hold_the_same(asked, tmp_path):
    asked = replace(asked, spec=PredictionSpec(margin=True, top_k=2))
    outputs = {suffix: tmp_path / f"x.{suffix}" for suffix in ("csv", "jsonl", "parquet")}
    for output in outputs.values():
        predict_images(replace(asked, output=output))
    lines = [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()]
    assert pyarrow.parquet.read_table(outputs["parquet"]).to_pylist() == lines
    columns = ["path", "class_1", "probability_1", "class_2", "probability_2", "margin", "error"]
    assert list(lines[0]) == columns
    texts = [{name: str(value) for name, value in line.items()} for line in lines]
    assert texts == rows_in(outputs["csv"])
    assert lines[0]["margin"] == pytest.approx(
        lines[0]["probability_1"] - lines[0]["probability_2"], abs=1e-8
    )


def test_an_unreadable_image_is_a_row_with_the_reason(asked, trained, tmp_path):
    data = tmp_path / "data"
    write_classes(data, {"a": 4, "b": 5, "c": 2})
    bad = truncate(data / "b/001.png")
    asked = replace(asked, images=(str(data),))
    done = predict_images(asked)
    rows = rows_in(asked.output)
    assert (done.tally.images, done.tally.failed) == (11, 1)
    (row,) = [row for row in rows if row["error"]]
    assert row["path"] == str(bad)
    assert row["class_1"] == row["probability_1"] == row["logit_a"] == ""
    skipped = replace(asked, output=tmp_path / "skipped.csv", on_bad_image="skip")
    assert predict_images(skipped).tally.unreadable == ((str(bad), row["error"]),)
    # Another takes its place in the batch: the answers for the rest are what they were.
    assert rows_in(skipped.output) == [row for row in rows if not row["error"]]
    whole = replace(asked, images=(str(trained / "data/val"),), output=tmp_path / "whole.csv")
    predict_images(whole)
    others = [list(row.values())[1:] for row in rows_in(whole.output)]
    del others[5]
    assert [list(row.values())[1:] for row in rows_in(skipped.output)] == others


def test_embeddings_are_the_input_of_the_classifier(asked, tmp_path):
    asked = replace(asked, embeddings=tmp_path / "e.safetensors")
    predict_images(asked)
    table = read_features(asked.embeddings)
    assert [label.path for label in table.labels] == [row["path"] for row in rows_in(asked.output)]
    classifier = covtool.load(asked.source.name).get_classifier()
    with torch.no_grad():
        logits = classifier(table.features)
    torch.testing.assert_close(logits, evaluated_logits(asked, samples_in(asked)))


class Stopped:
    """A `Track` that ends as Ctrl-C does, after some batches."""

    def __init__(self, after):
        self.after = after

    def __call__(self, iterable, description, total):
        for number, item in enumerate(iterable):
            if number == self.after:
                raise KeyboardInterrupt
            yield item


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_file_goes_on_to_the_same_bytes(suffix, torn, asked, tmp_path):
    whole, output = tmp_path / f"whole.{suffix}", tmp_path / f"answers.{suffix}"
    predict_images(replace(asked, output=whole))
    asked = replace(asked, output=output)
    with pytest.raises(InterruptedRunError, match=r"answers.*\.partial") as stopped:
        predict_images(asked, track=Stopped(2))
    assert "--resume" in stopped.value.hint
    partial = tmp_path / f"answers.{suffix}.partial"
    assert not output.exists()
    assert partial.read_bytes().count(b"\n") == 8 + (suffix == "csv")
    if torn:  # as kill -9 leaves it: rows that no line of the journal vouches for
        with partial.open("ab") as stream:
            stream.write(b"a/000.png,half a r")
        with partial.with_name(f"{partial.name}.journal").open("ab") as stream:
            stream.write(b'{"images": 12, "si')
    with pytest.raises(ArgumentError, match="were interrupted"):
        predict_images(asked)
    done = predict_images(replace(asked, resume=True))
    assert (done.tally.resumed, done.tally.images) == (8, 11)
    assert output.read_bytes() == whole.read_bytes()
    left = [path.name for path in tmp_path.iterdir() if "partial" in path.name]
    assert left == []


def other_images(asked, trained):
    return replace(asked, images=(str(trained / "data/val/b"), str(trained / "data/val")))


OTHERS = {
    "another batch size": lambda asked, trained: replace(asked, batch_size=2),
    "another choice of answers": lambda asked, trained: replace(asked, spec=PredictionSpec()),
    "another precision": lambda asked, trained: replace(asked, amp=True),
    "another treatment": lambda asked, trained: replace(asked, on_bad_image="skip"),
    "others than those that were begun with": other_images,
    "another preparation": lambda asked, trained: replace(
        asked, source=asked.source.model_copy(update={"input": {"crop_pct": 1.0}})
    ),
}


@pytest.mark.parametrize("message", OTHERS)
def test_what_differs_is_not_resumed(message, asked, trained):
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=Stopped(1))
    partial = asked.output.with_name("answers.csv.partial")
    before = partial.read_bytes()
    with pytest.raises(ArgumentError, match=message):
        predict_images(replace(OTHERS[message](asked, trained), resume=True))
    assert partial.read_bytes() == before


def test_another_model_is_not_resumed(asked, tmp_path):
    own = tmp_path / "own.safetensors"
    save(make(), own)
    asked = replace(asked, source=str(own))
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=Stopped(1))
    other = make()
    torch.nn.init.normal_(other.get_classifier().weight)
    save(other, own, overwrite=True)
    with pytest.raises(ArgumentError, match="another model"):
        predict_images(replace(asked, resume=True))


def test_a_partial_file_that_was_edited_is_not_resumed(asked):
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=Stopped(1))
    partial = asked.output.with_name("answers.csv.partial")
    partial.write_bytes(partial.read_bytes().replace(b"0.", b"1."))
    with pytest.raises(DataError, match="not as it was written"):
        predict_images(replace(asked, resume=True))
    predict_images(replace(asked, overwrite=True))
    assert len(rows_in(asked.output)) == 11


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"output": Path("x.xlsx")}, ArgumentError, "is not the name of a file of pred"),
        ({"output": Path("x.safetensors")}, ArgumentError, "is not the name of a file of pred"),
        ({"sheet": Path("x.jpg")}, ArgumentError, "does not end in .png"),
        ({"embeddings": Path("x.pt")}, ArgumentError, "x.pt"),
        ({"resume": True}, ArgumentError, "nothing to resume"),
        ({"resume": True, "embeddings": Path("e.npz")}, ArgumentError, "cannot be resumed"),
        ({"spec": PredictionSpec(logits=True, tta="flip")}, ArgumentError, "no logits"),
        ({"images": ("nowhere",)}, DataError, "There is no nowhere"),
    ],
)
def test_mistakes_are_refused_before_the_model_is_opened(fields, error, message, asked):
    with pytest.raises(error, match=message):
        predict_images(replace(asked, source="no-model.safetensors", **fields))
    assert list(asked.output.parent.iterdir()) == []


def test_a_file_that_is_no_interrupted_prediction_is_not_written_to(asked):
    partial = asked.output.with_name("answers.csv.partial")
    partial.write_text("mine")
    for resume in (False, True):
        with pytest.raises(ArgumentError, match="in the way"):
            predict_images(replace(asked, resume=resume))
    assert partial.read_text() == "mine"
    predict_images(replace(asked, overwrite=True))
    assert not partial.exists()


def test_two_processes_do_not_write_one_output(asked, tmp_path):
    """While one is at work, another that resumes, or begins anew, is refused."""
    refused = []

    def meanwhile(iterable, description, total):
        for number, item in enumerate(iterable):
            if number == 1:
                for fields in ({"resume": True}, {"overwrite": True}):
                    with pytest.raises(ArgumentError, match="by another process"):
                        predict_images(replace(asked, **fields))
                    refused.append(fields)
            yield item

    whole = replace(asked, output=tmp_path / "whole.csv")
    predict_images(whole)
    predict_images(asked, track=meanwhile)
    assert len(refused) == 2
    assert asked.output.read_bytes() == whole.output.read_bytes()


def test_images_that_changed_since_they_were_done_are_said_to_have(asked, tmp_path):
    data = write_classes(tmp_path / "data", {"a": 4, "b": 5})
    asked = replace(asked, images=(str(data),))
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=Stopped(1))
    journal = asked.output.with_name("answers.csv.partial.journal")
    os.utime(journal, ns=(0, max(file.stat().st_ctime_ns for file in data.rglob("*.png")) + 1))
    kept = {file: file.read_bytes() for file in (journal, journal.with_suffix(""))}
    assert not any("changed since" in note for note in resumed(asked).notes)
    for file, content in kept.items():
        file.write_bytes(content)
    asked.output.unlink()
    (data / "a/001.png").unlink()
    write_image(data / "a/001.png")
    os.utime(journal, ns=(0, (data / "a/001.png").stat().st_ctime_ns - 1))
    (note,) = [note for note in resumed(asked).notes if "changed since" in note]
    assert "4 images that were done before, the files of 1" in note


def resumed(asked):
    return predict_images(replace(asked, resume=True))


@pytest.mark.parametrize(
    ("names", "classes", "note"),
    [(("only",), 1, "single output"), (("a", "a", "b"), 3, "have the same name: a")],
)
def test_answers_that_say_little_have_a_note(names, classes, note, asked, tmp_path):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=classes)
    recipe = make().recipe
    model.recipe = recipe.model_copy(update={"num_classes": classes, "class_names": names})
    source = str(save(model, tmp_path / "odd.safetensors"))
    done = predict_images(replace(asked, source=source, spec=PredictionSpec(margin=True)))
    assert any(note in text for text in done.notes)
    assert len(rows_in(asked.output)) == 11


def test_an_output_is_not_replaced_unasked(asked):
    asked.output.write_text("mine")
    with pytest.raises(OutputExistsError):
        predict_images(asked)
    assert asked.output.read_text() == "mine"


def test_parquet_without_its_package_says_how_to_install_it(asked, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match="pyarrow") as refused:
        predict_images(replace(asked, output=asked.output.with_suffix(".parquet")))
    assert "covtool[parquet]" in refused.value.hint


def test_random_classifiers_are_refused(asked, tmp_path):
    fresh = Provenance(covtool_version="0", untrained=("classifier",))
    own = save(make(provenance=fresh), tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match="no trained classifier"):
        predict_images(replace(asked, source=str(own)))


def test_an_answer_that_is_no_number_names_the_image(asked, tmp_path):
    broken = make()
    torch.nn.init.constant_(broken.get_classifier().weight, 3e38)
    own = save(broken, tmp_path / "own.safetensors")
    with pytest.raises(NonFiniteError, match=r"a/000\.png"):
        predict_images(replace(asked, source=str(own)))


def test_the_temperature_of_predictions_is_applied_and_said(asked, tmp_path):
    own = save(make(scores=SCORES), tmp_path / "own.safetensors")
    done = predict_images(replace(asked, source=str(own)))
    for row in rows_in(asked.output):
        logits = torch.tensor([float(row[f"logit_{name}"]) for name in CLASSES]).double()
        expected = (logits / 2.5).softmax(0).max().item()
        assert float(row["probability_1"]) == pytest.approx(expected, rel=1e-6)
    assert done.temperature == 2.5
    assert any("divided by 2.5" in note for note in done.notes)
    assert any("rests on 9 images: it is a rough one" in note for note in done.notes)


def test_a_class_below_the_threshold_is_empty(asked):
    whole = predict_images(asked)
    assert not any("Of the answers above" in note for note in whole.notes)
    before = rows_in(asked.output)
    spec = PredictionSpec(logits=True, threshold=0.6)
    done = predict_images(replace(asked, spec=spec, overwrite=True))
    assert any("not calibrated" in note for note in done.notes)
    for row, was in zip(rows_in(asked.output), before, strict=True):
        for place in "123":
            is_sure = float(was[f"probability_{place}"]) >= 0.6
            assert row[f"class_{place}"] == (was[f"class_{place}"] if is_sure else "")
            assert row[f"probability_{place}"] == was[f"probability_{place}"]


def test_without_names_classes_are_numbers_and_that_is_said(asked, tmp_path):
    own = save(make(class_names=None), tmp_path / "own.safetensors")
    nameless = replace(asked, source=str(own))
    done = predict_images(nameless)
    assert {row["class_1"] for row in rows_in(asked.output)} <= {"0", "1", "2"}
    assert any("--class-names" in note for note in done.notes)
    names = tmp_path / "names.txt"
    names.write_text("x\ny\nz\n")
    done = predict_images(replace(nameless, class_names=names, overwrite=True))
    assert {row["class_1"] for row in rows_in(asked.output)} <= {"x", "y", "z"}
    assert not any("--class-names" in note for note in done.notes)
    names.write_text("x\ny\n")
    with pytest.raises(DataError, match="names 2 classes"):
        predict_images(replace(nameless, class_names=names, overwrite=True))


@pytest.mark.parametrize("tta", ["flip", "crops"])
def test_views_are_averaged_as_probabilities(tta, asked):
    predict_images(replace(asked, spec=PredictionSpec(tta=tta)))
    model = make()
    pictures = [Image.open(sample.path).convert("RGB") for sample in samples_in(asked)]
    for row, picture in zip(rows_in(asked.output), pictures, strict=True):
        if tta == "flip":
            views = [picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        else:
            # timm resizes the short side to 36 and crops 32 of it
            width, height = round(36 * picture.width / picture.height), 36
            resized = picture.resize((width, height), Image.Resampling.BILINEAR)
            corners = [(0, 0), (width - 32, 0), (0, 4), (width - 32, 4)]
            corners.append((round((width - 32) / 2), 2))
            views = [resized.crop((x, y, x + 32, y + 32)) for x, y in corners]
        plain = model.recipe.input if tta == "flip" else InputSpec(size=(32, 32), crop_pct=1.0)
        probabilities = expected_mean(model, plain, views)
        found = {row[f"class_{place}"]: float(row[f"probability_{place}"]) for place in "123"}
        assert [found[name] for name in CLASSES] == pytest.approx(probabilities, abs=1e-3)


def expected_mean(model, images, views):
    from covtool.data.transforms.from_timm import evaluation_transform

    transform = evaluation_transform(images)
    with torch.no_grad():
        logits = model.eval()(torch.stack([transform(view) for view in views]))
    return logits.double().softmax(1).mean(0).tolist()


@pytest.mark.parametrize(
    "images",
    [{"crop_mode": "border"}, {"crop_mode": "squash", "crop_pct": 1.0}, {"crop_pct": 1.2}],
)
def test_five_crops_of_a_whole_image_are_refused(images, asked):
    source = asked.source.model_copy(update={"input": images})
    asked = replace(asked, source=source, spec=PredictionSpec(tta="crops"))
    with pytest.raises(ArgumentError, match="no five crops"):
        predict_images(asked)
    assert list(asked.output.parent.iterdir()) == []


def test_mixed_precision_is_that_of_an_evaluation(asked, trained):
    amp = {"amp": True, "amp_dtype": "bfloat16"}
    full = rows_in(predict_images(asked).files[0])
    predict_images(replace(asked, **amp, overwrite=True))
    rows = rows_in(asked.output)
    assert [row["logit_a"] for row in rows] != [row["logit_a"] for row in full]
    measured = evaluate(
        EvaluationRequest(
            source=asked.source,
            data=trained / "data",
            workers=0,
            batch_size=4,
            device="cpu",
            **amp,
        )
    )
    assert [CLASSES.index(row["class_1"]) for row in rows] == list(measured.result.predictions)


def test_a_sheet_shows_the_same_pictures_after_a_resumption(asked, tmp_path):
    whole = replace(asked, sheet=tmp_path / "whole.png", output=tmp_path / "whole.csv")
    predict_images(whole)
    asked = replace(asked, sheet=tmp_path / "sheet.png")
    with pytest.raises(InterruptedRunError):
        predict_images(asked, track=Stopped(1))
    assert not asked.sheet.exists()
    predict_images(replace(asked, resume=True))
    with Image.open(asked.sheet) as resumed, Image.open(whole.sheet) as drawn:
        assert resumed.tobytes() == drawn.tobytes()


def test_maps_are_drawn_for_what_can_be_read_and_say_what_they_are(asked, tmp_path, trained):
    folder = tmp_path / "photos"
    write_classes(folder, {"a": 3})
    truncate(write_image(folder / "a" / "broken.png"))
    maps = tmp_path / "maps.png"
    done = predict_images(replace(asked, images=(str(folder),), maps=maps))
    assert done.tally.failed == 1
    assert any("Grad-CAM at" in note for note in done.notes)
    with Image.open(maps) as sheet:
        assert sheet.width > 6 * 150  # three images, each beside its map
    assert maps in done.files


def test_maps_need_a_name_that_a_picture_has(asked):
    with pytest.raises(ArgumentError, match="does not end in"):
        predict_images(replace(asked, maps=Path("maps.jpg")))
    assert not asked.output.exists()

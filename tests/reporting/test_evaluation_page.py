"""The page of an evaluation: what it shows is what was measured, and it stays small."""

import csv
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluated_toys import evaluated_toy
from hostile_texts import HOSTILE
from html_checks import require_sound
from images import truncate
from PIL import Image
from scipy.stats import mannwhitneyu
from toy_data import COLORS

from covtool.checkpoints.model_file import save
from covtool.data.datasets.reading import scan
from covtool.errors import DataError, OutputExistsError
from covtool.evaluation.classification.accuracy import ClassificationResult
from covtool.evaluation.classification.answers import ImageAnswers
from covtool.evaluation.classification.probabilities import ProbabilityFigures
from covtool.evaluation.evaluate import Evaluation, evaluate
from covtool.evaluation.features.files import read_features
from covtool.evaluation.features.keeping import KeptSource, keep_neighbors_
from covtool.figure_names import figure_name
from covtool.processes import ALONE
from covtool.reporting.against import compare_subjects
from covtool.reporting.class_sections import LARGEST_TABLE
from covtool.reporting.embedding_file import save_embeddings
from covtool.reporting.evaluation_page import write_evaluation
from covtool.reporting.head_section import how_section
from covtool.reporting.mistake_sheet import save_mistakes
from covtool.reporting.nearest_training import nearest_kept, nearest_training
from covtool.reporting.subjects import Subject
from covtool.specs import AttackSpec, FeatureSpec, InputSpec, ModelSource, ScoreSpec

MARKUP = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')

KINDS = ("is half a character", "ends a string", "floods", "is long")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return evaluated_toy(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def subject(toy):
    return Subject(done=evaluate(toy), model="net.safetensors", command="covtool evaluate net")


def write_noise(folder, count) -> None:
    """Write images that show nothing."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")


def rows_of(path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def made_up(images, names, paths, *, seed=0) -> Subject:
    """Return an evaluation of answers that are drawn: two of three right."""
    generator = torch.Generator().manual_seed(seed)
    classes = len(names)
    right = torch.arange(images) % classes
    other = torch.randint(classes, (images,), generator=generator)
    given = torch.where(torch.rand(images, generator=generator) < 0.67, right, other)
    probability = torch.rand(images, generator=generator).double() * 0.5 + 0.5
    is_right = given == right
    of_right = torch.where(is_right, probability, (1 - probability) / 2 + 1e-9)
    answers = ImageAnswers(
        right=right,
        given=given,
        probability=probability,
        right_probability=of_right,
        loss=-of_right.log(),
        rank=(~is_right).long() * 3,
        directions=torch.rand(images, 16, generator=generator).half(),
    )
    figures = ProbabilityFigures(temperature=1.0, nll=1.0, ece=2.0, adaptive_ece=2.0)
    result = ClassificationResult(
        images=images,
        top_1=100 * float(is_right.double().mean()),
        top_5=90.0,
        loss=1.0,
        images_per_s=100.0,
        class_names=tuple(names),
        targets=tuple(right.tolist()),
        predictions=tuple(given.tolist()),
        doubts=tuple((1 - probability).tolist()),
        probabilities=figures,
        at_temperature_1=figures,
    )
    done = Evaluation(
        result=result,
        data=names[0],
        split="val",
        device="cpu",
        input=InputSpec(),
        unreadable=(),
        notes=(names[0],),
        class_order="names",
        paths=tuple(paths),
        answers=answers,
    )
    return Subject(done=done, model=names[0], command=names[0])


def test_the_page_shows_what_was_measured(subject, tmp_path) -> None:
    page = require_sound(write_evaluation(subject, tmp_path / "page").read_text())
    result = subject.done.result
    assert f"{result.top_1:.2f} %" in page.text
    assert f"{result.probabilities.ece:.2f} %" in page.text
    assert {"#confusion", "#classes", "#mistakes", "#right", "#scores", "#how"} <= set(page.links)
    figures = {path.name for path in (tmp_path / "page/figures").iterdir()}
    assert figures == {
        *("confusion-normalized.svg", "confusion-counts.svg"),
        *("reliability.svg", "coverage.svg", "scores.svg"),
    }
    images = [found for tag, found in page.elements if tag == "img"]
    assert len(images) >= len(subject.mistakes)


def test_the_page_of_an_operated_model_says_its_operations(tmp_path) -> None:
    done = evaluate(evaluated_toy(tmp_path, head="isqrt"))
    made = write_evaluation(Subject(done=done, model="net"), tmp_path / "page")
    assert "head isqrt" in require_sound(made.read_text()).text


@pytest.mark.parametrize(("images", "is_rough"), [(9, True), (900, False)])
def test_the_temperature_says_what_it_rests_on(subject, images, is_rough) -> None:
    opened = subject.done.opened
    scores = ScoreSpec(temperature=1.0, method="validation", data="birds, val", images=images)
    chosen = replace(opened, recipe=opened.recipe.model_copy(update={"scores": scores}))
    shown = replace(subject, done=replace(subject.done, opened=chosen))
    facts = dict(how_section(shown).blocks[0].rows)
    assert facts["temperature"].startswith(f"1, chosen on {images} images of birds, val")
    assert ("it is a rough one" in facts["temperature"]) == is_rough
    assert dict(how_section(subject).blocks[0].rows)["temperature"] == "1"


def test_every_image_has_its_row(subject, tmp_path) -> None:
    write_evaluation(subject, tmp_path / "page")
    with (tmp_path / "page/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = subject.done.result
    assert [row["path"] for row in rows] == [str(path) for path in subject.done.paths]
    assert [row["right_class"] for row in rows] == [result.class_names[t] for t in result.targets]
    assert [row["given_class"] for row in rows] == [
        result.class_names[p] for p in result.predictions
    ]
    losses = torch.tensor([float(row["loss"]) for row in rows], dtype=torch.float64)
    assert losses.tolist() == subject.answers.loss.tolist()
    assert all(
        (row["rank_of_right"] == "1") == (row["right_class"] == row["given_class"]) for row in rows
    )


def test_mistakes_have_their_nearest_training_images(toy, subject, tmp_path) -> None:
    found = nearest_training(subject, toy.data, toy, subject.mistakes)
    position = subject.mistakes[0]
    paths = [image.path for image in found.images[position]]
    names = [image.class_name for image in found.images[position]]
    assert [path.parent.name for path in paths] == names
    assert all(path.parent.parent.name == "train" for path in paths)
    same = evaluate(replace(toy, split="train"))
    queries = subject.answers.directions[position].float()
    cosines = same.answers.directions.float() @ queries
    expected = [same.paths[k] for k in cosines.argsort(descending=True)[:3]]
    assert paths == expected
    text = write_evaluation(replace(subject, nearest=found), tmp_path / "page").read_text()
    assert "trained: " in require_sound(text).text
    rows = rows_of(tmp_path / "page/nearest_training.csv")
    assert len(rows) == 3 * len(subject.mistakes)
    first, names = rows[:3], subject.names
    assert {row["path"] for row in first} == {str(subject.done.paths[position])}
    assert [row["training_path"] for row in first] == [str(path) for path in paths]
    assert {row["given_class"] for row in first} == {names[subject.answers.given[position]]}
    assert [float(row["cosine"]) for row in first] == pytest.approx(
        [image.similarity for image in found.images[position]]
    )


@pytest.fixture
def keeping(toy, tmp_path):
    """An evaluation of a model that keeps the embeddings of its training images, and their data."""
    data = tmp_path / "own"
    shutil.copytree(toy.data, data)
    request = replace(toy, data=data)
    opened = request.open()
    usual = {"device": torch.device("cpu"), "processes": ALONE}
    extractor = request.extractor(opened, FeatureSpec(), **usual)
    source = KeptSource(name="own train", folder=data, class_names=COLORS)
    keep_neighbors_(extractor, scan(data).samples("train"), source)
    file = save(opened.model, tmp_path / "keeping.safetensors")
    done = evaluate(replace(request, source=ModelSource(name=str(file))))
    return request, Subject(done=done, model="keeping")


def test_kept_neighbors_are_shown_where_their_files_are(keeping, tmp_path) -> None:
    request, subject = keeping
    data = request.data
    found = nearest_kept(subject, subject.mistakes)
    exact = nearest_training(subject, data, request, subject.mistakes)
    position = subject.mistakes[0]
    # Kept in bytes: the nearest are the same, their cosines nearly.
    assert found.images[position][0].path == exact.images[position][0].path
    own, other = (n.images[position][0].similarity for n in (found, exact))
    assert own == pytest.approx(other, abs=0.01)
    for image in found.images[position]:
        assert image.path.parent.name == image.class_name
        assert image.path.parent.parent == data / "train"
    assert not found.notes
    text = require_sound(write_evaluation(subject, tmp_path / "page").read_text()).text
    assert "trained: " in text
    assert "own train" in text


def test_kept_neighbors_without_their_files_are_named_and_not_guessed(keeping, tmp_path) -> None:
    _, subject = keeping
    shown = {
        image.path
        for images in nearest_kept(subject, subject.mistakes).images.values()
        for image in images
    }
    changed, gone = sorted(shown)[:2]
    changed.write_bytes(sorted(shown)[2].read_bytes())
    gone.unlink()
    found = nearest_kept(subject, subject.mistakes)
    assert not {changed, gone} & set(found.paths)
    assert "2 of the" in found.notes[0]
    text = require_sound(write_evaluation(subject, tmp_path / "page").read_text()).text
    assert "have no picture" in text
    assert "not shown" in text
    assert gone.name in text


def test_maps_stand_beside_the_mistakes(subject, tmp_path) -> None:
    asked = []

    def look(path, output):
        asked.append((path, output))
        return Image.new("RGB", (40, 40), "red")

    text = write_evaluation(replace(subject, look=look), tmp_path / "page").read_text()
    assert "looks for " in require_sound(text).text
    first = subject.mistakes[0]
    right, given = int(subject.answers.right[first]), int(subject.answers.given[first])
    assert asked[:2] == [(subject.done.paths[first], given), (subject.done.paths[first], right)]


def test_two_models_are_compared_image_by_image(toy, subject, tmp_path) -> None:
    other = Subject(done=evaluate(evaluated_toy(toy.data.parent, seed=1)), model="other")
    compared = compare_subjects(subject, other)
    results = [s.done.result for s in (subject, other)]
    right = [[t == p for t, p in zip(r.targets, r.predictions, strict=True)] for r in results]
    pairs = list(zip(*right, strict=True))
    assert compared.test.only_first == pairs.count((True, False)) > 0
    assert compared.test.only_second == pairs.count((False, True)) > 0
    text = write_evaluation(subject, tmp_path / "page", compared).read_text()
    page = require_sound(text).text
    assert "McNemar" in page
    assert "top-1 against other" in page
    assert "nan" not in page
    assert (tmp_path / "page/tables/differences.csv").is_file()


def test_an_attack_stands_beside_the_clean_figures(toy, tmp_path) -> None:
    attacked = replace(toy, attack=AttackSpec(attack="fgsm", eps="8/255"))
    done = evaluate(attacked)
    folder = write_evaluation(Subject(done=done, model="net"), tmp_path / "page").parent
    page = require_sound((folder / "index.html").read_text())
    assert {"#attack", "#scores"} <= set(page.links)
    with (folder / "tables/attack.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    title = done.attack.title
    assert float(rows["top-1 (%)"]["clean"]) == done.result.top_1
    assert float(rows["top-1 (%)"][title]) == done.attacked.top_1
    with (folder / "predictions.csv").open() as file:
        answers = list(csv.DictReader(file))
    names = done.result.class_names
    assert [row["attacked_class"] for row in answers] == [
        names[k] for k in done.attacked.predictions
    ]
    with (folder / "tables/attacked-classes.csv").open() as file:
        classes = list(csv.DictReader(file))
    for row in classes:
        own = [a for a in answers if a["right_class"] == row["class"]]
        right = sum(a["attacked_class"] == row["class"] for a in own)
        assert float(row["recall, attacked (%)"]) == pytest.approx(100 * right / len(own))


@pytest.mark.parametrize("has_neighbors", [False, True])
def test_images_of_other_classes_have_a_section(keeping, tmp_path, has_neighbors) -> None:
    request, _ = keeping
    others = tmp_path / "others"
    write_noise(others / "pear", 5)
    if has_neighbors:
        request = replace(request, source=ModelSource(name=str(tmp_path / "keeping.safetensors")))
    done = evaluate(replace(request, unknown=others))
    folder = write_evaluation(Subject(done=done, model="net"), tmp_path / "page").parent
    page = require_sound((folder / "index.html").read_text())
    assert "#unknown" in page.links
    scores = ["distance", "doubt"] if has_neighbors else ["doubt"]
    rows = rows_of(folder / "tables/unknown.csv")
    assert [row["score"] for row in rows] == [figure_name(score) for score in scores]
    # Of the files alone: the share of pairs in which the unknown image has the higher score.
    unknown, known = rows_of(folder / "unknown.csv"), rows_of(folder / "predictions.csv")
    assert [row["path"] for row in unknown] == sorted(map(str, others.rglob("*.png")))
    doubts = [[1 - float(row["probability"]) for row in part] for part in (unknown, known)]
    area = 100 * mannwhitneyu(*doubts).statistic / (len(unknown) * len(known))
    assert float(rows[-1]["area under ROC (%)"]) == pytest.approx(area)
    assert {row["given_class"] for row in unknown} <= set(COLORS)
    assert all(bool(row["distance"]) == has_neighbors for row in unknown)
    surest = max(unknown, key=lambda row: float(row["probability"]))
    words = f"{surest['given_class']}, {100 * float(surest['probability']):.1f} %"
    assert words in page.text.replace("\xa0", " ")
    assert {f"unknown-{score}.svg" for score in scores} == {
        file.name for file in (folder / "figures").glob("unknown-*")
    }


def test_the_threshold_of_the_known_is_a_figure(toy, tmp_path) -> None:
    others = tmp_path / "others"
    write_noise(others / "pear", 5)
    done = evaluate(replace(toy, unknown=others))
    folder = write_evaluation(Subject(done=done, model="net"), tmp_path / "page").parent
    (row,) = rows_of(folder / "tables/unknown.csv")
    threshold = float(row["threshold that accepts 95 % of the known"])
    assert threshold == done.unknown.doubt.threshold
    known = [1 - float(r["probability"]) for r in rows_of(folder / "predictions.csv")]
    accepted = sum(doubt <= threshold + 1e-12 for doubt in known)
    assert accepted >= 0.95 * len(known) > sum(doubt < threshold - 1e-12 for doubt in known)


def test_what_the_other_model_did_not_go_through_is_said(toy, tmp_path) -> None:
    others = tmp_path / "others"
    write_noise(others / "pear", 3)
    done = evaluate(replace(toy, attack=AttackSpec(attack="fgsm", eps="8/255"), unknown=others))
    plain = evaluate(evaluated_toy(toy.data.parent, seed=2))
    first, second = Subject(done=done, model="net"), Subject(done=plain, model="other")
    compared = compare_subjects(first, second)
    text = write_evaluation(first, tmp_path / "page", compared).read_text()
    page = require_sound(text).text
    for words in ("other: This model was not attacked", "other: This model was not given the"):
        assert words in page
    same = compare_subjects(Subject(done=plain, model="again"), second)
    assert not any("This model was not" in doubt for doubt in same.doubts)


def test_a_figure_has_one_value_in_head_and_tables(tmp_path) -> None:
    # A class without images that is given to some: its F1 is 0, and no mean of the head has it.
    names, paths = ["a", "b", "c"], [tmp_path / f"{k}.jpg" for k in range(30)]
    first, second = (made_up(30, names, paths, seed=seed) for seed in (0, 1))
    right = first.answers.right.clamp(max=1)
    subjects = []
    for one, model in ((first, "one"), (second, "two")):
        given = one.answers.given
        answers = replace(one.answers, right=right)
        top_1 = 100 * float((right == given).double().mean())
        result = replace(one.done.result, targets=tuple(right.tolist()), top_1=top_1)
        subjects.append(
            Subject(done=replace(one.done, result=result, answers=answers), model=model)
        )
    compared = compare_subjects(*subjects)
    page = write_evaluation(subjects[0], tmp_path / "page", compared)
    table = {row["figure"]: row for row in rows_of(tmp_path / "page/tables/two-models.csv")}
    f1 = float(table["macro F1 (%)"]["one"])
    assert f1 == pytest.approx(subjects[0].ranged["macro_f1"].value)
    assert f1 == pytest.approx(subjects[0].done.result.macro["f1"])
    assert 0 < f1 > 100 * float(subjects[0].figures.f1.nanmean())
    assert f"{f1:.2f} %" in require_sound(page.read_text()).text.replace("\xa0", " ")


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_probabilities_as_they_are_are_a_fact(subject, tmp_path, temperature) -> None:
    at_t = replace(subject.done.result.probabilities, temperature=temperature)
    plain = replace(at_t, temperature=1.0, nll=7.25, ece=8.5)
    result = replace(subject.done.result, probabilities=at_t, at_temperature_1=plain)
    shown = replace(subject, done=replace(subject.done, result=result))
    text = require_sound(write_evaluation(shown, tmp_path / "page").read_text()).text
    text = text.replace("\xa0", " ")
    assert ("with temperature 1" in text) == (temperature != 1)
    assert ("negative log-likelihood 7.25, ECE 8.50 %" in text) == (temperature != 1)


def test_training_images_that_are_left_out_are_said(toy, subject, tmp_path) -> None:
    data = tmp_path / "damaged"
    shutil.copytree(toy.data, data)
    gone = sorted((data / "train").rglob("*.png"))[0]
    truncate(gone)
    gone.with_suffix(".heic").touch()
    request = replace(toy, on_bad_image="skip")
    found = nearest_training(subject, data, request, subject.mistakes)
    assert "1 unreadable image of damaged, train was left out" in found.notes[0]
    assert gone.name in found.notes[0]
    assert "damaged, train: 1 file with other suffixes left out: .heic." in found.notes
    page = write_evaluation(replace(subject, nearest=found), tmp_path / "page").read_text()
    assert "1 unreadable image of damaged" in require_sound(page).text


def test_models_of_other_images_are_not_compared(subject) -> None:
    other = replace(subject, done=replace(subject.done, paths=subject.done.paths[::-1]))
    with pytest.raises(DataError, match="not measured on the same images"):
        compare_subjects(subject, other)


@pytest.mark.parametrize("text", [*MARKUP, *map(HOSTILE.get, KINDS)])
def test_no_name_acts_on_the_page(text, tmp_path) -> None:
    names = [text, f"{text}b", "c"]
    paths = [tmp_path / f"missing{k}.jpg" for k in range(30)]
    page = write_evaluation(made_up(30, names, paths), tmp_path / "page")
    require_sound(page.read_text())


def test_of_very_many_classes_the_page_has_the_pairs_that_are_confused(tmp_path) -> None:
    names = [f"class number {k}" for k in range(LARGEST_TABLE + 1)]
    subject = made_up(300, names, [tmp_path / f"missing{k}.jpg" for k in range(300)])
    for overwrite in (False, True):  # the file is one of the page's own
        page = write_evaluation(subject, tmp_path / "page", overwrite=overwrite)
    assert not (page.parent / "confusion.csv").exists()
    result = subject.done.result
    counts = Counter(
        (names[right], names[given])
        for right, given in zip(result.targets, result.predictions, strict=True)
    )
    rows = rows_of(page.parent / "confusion_pairs.csv")
    assert {(row["right"], row["given"]): int(row["images"]) for row in rows} == counts
    require_sound(page.read_text())


@pytest.mark.parametrize(
    ("given_of", "words"),
    [
        (
            lambda right: right ^ 1,  # each is taken for its neighbor
            "60 of 60 classes stand in 30 groups, of 12 classes at most, that are confused with "
            "each other: 3,540 of 3,540 mistakes are within these groups. Shown are the 8 of the "
            "most mistakes. All mistakes are in confusion.csv.",
        ),
        (
            torch.zeros_like,
            "12 of 60 classes stand in 1 group, of 12 classes at most, that are confused with each "
            "other: 649 of 3,481 mistakes are within this group. Of all mistakes, 3,481 are images "
            "taken for class 0. All mistakes are in confusion.csv.",
        ),
        (
            lambda right: (right + 1 + torch.arange(3540) // 60) % 60,  # another each time
            "No classes are confused with each other often enough to stand together. Mistakes are "
            "spread over pairs of classes that are seldom confused. All mistakes are in "
            "confusion.csv.",
        ),
    ],
    ids=["pairs", "one answer", "spread"],
)
def test_how_mistakes_lie_is_said_in_a_sentence(given_of, words, tmp_path) -> None:
    names, paths = [f"class {k}" for k in range(60)], [tmp_path / f"{k}.jpg" for k in range(3540)]
    subject = made_up(3540, names, paths)
    answers = replace(subject.answers, given=given_of(subject.answers.right))
    result = replace(subject.done.result, predictions=tuple(answers.given.tolist()))
    subject = replace(subject, done=replace(subject.done, answers=answers, result=result))
    page = write_evaluation(subject, tmp_path / "page").read_text()
    assert words in require_sound(page).text.replace("\xa0", " ")


@pytest.mark.slow
def test_a_thousand_classes_of_fifty_images_stay_small(tmp_path) -> None:
    noise = torch.randint(0, 256, (240, 320, 3), generator=torch.Generator().manual_seed(0))
    source = tmp_path / "noise.jpg"
    Image.fromarray(noise.byte().numpy()).save(source, quality=95)  # the largest of thumbnails
    paths = []
    for k in range(50_000):
        paths.append(tmp_path / f"{k}.jpg")
    subject = made_up(50_000, [f"class number {k}" for k in range(1000)], paths)
    for path in paths:
        path.symlink_to(source)
    page = write_evaluation(subject, tmp_path / "page")
    folder = sum(path.stat().st_size for path in page.parent.rglob("*.*"))
    assert 1_000_000 < page.stat().st_size < 20_000_000
    assert folder < 30_000_000
    require_sound(page.read_text())


@pytest.mark.parametrize("order", ["names", "guessed"])
def test_a_sheet_of_guesses_says_so(subject, tmp_path, monkeypatch, order) -> None:
    drawn = {}

    def spy(path, answered, **settings):
        drawn.update(settings, answered=answered)
        return path

    monkeypatch.setattr("covtool.reporting.mistake_sheet.save_answers", spy)
    guessed = replace(subject, done=replace(subject.done, class_order=order))
    save_mistakes(guessed, tmp_path / "mistakes.png")
    is_guess = order == "guessed"
    assert ("the order of the classes is a guess" in drawn["title"]) == is_guess
    for one in drawn["answered"]:
        given, right = one.prediction.classes
        assert ("(a guess)" in given, right.startswith("is: ")) == (is_guess, True)


def test_mistakes_are_drawn_alone(subject, tmp_path) -> None:
    save_mistakes(subject, tmp_path / "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.format == "PNG" and image.width > 300


@pytest.mark.parametrize("suffix", [".safetensors", ".csv"])
def test_embeddings_stand_in_the_order_of_the_predictions(toy, subject, tmp_path, suffix) -> None:
    done, path = subject.done, tmp_path / f"e{suffix}"
    assert save_embeddings(subject, toy, path) == path
    found = read_features(path)
    assert found.column("path") == [str(image) for image in done.paths]
    classifier = done.opened.model.get_classifier()
    given = classifier(found.features).argmax(1)
    assert given.tolist() == list(done.result.predictions)  # they are what the classifier gets
    with pytest.raises(OutputExistsError):
        save_embeddings(subject, toy, path)


def test_embeddings_are_of_the_precision_of_the_evaluation(toy, tmp_path) -> None:
    request = replace(toy, amp=True, amp_dtype="bfloat16")
    again = Subject(done=evaluate(request), model="net.safetensors")
    kept = Subject(done=evaluate(replace(request, keep_inputs=True)), model="net.safetensors")
    found = [
        read_features(save_embeddings(one, request, tmp_path / f"{name}.npz")).features
        for name, one in (("again", again), ("kept", kept))
    ]
    assert torch.equal(*found)
    exact = read_features(
        save_embeddings(replace(again, done=evaluate(toy)), toy, tmp_path / "exact.npz")
    ).features
    assert not torch.equal(found[0], exact)


def test_embeddings_of_the_evaluation_itself_are_those_that_are_read_again(
    toy, subject, tmp_path, monkeypatch
) -> None:
    once = evaluate(replace(toy, keep_inputs=True, attack=AttackSpec(attack="fgsm", eps="8/255")))
    assert subject.answers.inputs is None
    assert once.attacked_answers.inputs is None
    again = save_embeddings(subject, toy, tmp_path / "again.npz")
    monkeypatch.setattr("covtool.reporting.embedding_file._read_again", None)
    kept = save_embeddings(Subject(done=once, model="net"), toy, tmp_path / "kept.npz")
    assert torch.equal(read_features(kept).features, read_features(again).features)
    assert read_features(kept).column("path") == read_features(again).column("path")
    monkeypatch.setattr("covtool.evaluation.classification.answers.MOST_INPUT_BYTES", 100)
    assert evaluate(replace(toy, keep_inputs=True)).answers.inputs is None


def test_embeddings_without_files_are_refused(toy, subject, tmp_path) -> None:
    unknown = replace(subject, done=replace(subject.done, paths=()))
    with pytest.raises(DataError, match="embeddings cannot be written"):
        save_embeddings(unknown, toy, tmp_path / "e.csv")
    assert not (tmp_path / "e.csv").exists()

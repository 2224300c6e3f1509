"""Labels in doubt, images unlike others, and pictures that look alike."""

import numpy as np
import pytest
import torch
from PIL import Image

from covtool.auditing.copies import components
from covtool.auditing.embeddings import alike_by_embedding, nearest_others
from covtool.auditing.images import Images
from covtool.auditing.label_scores import left_out_scores, margins, worst_first
from covtool.auditing.outliers import deviations_below, deviations_by_class, similarity_to_class
from covtool.auditing.perceptual_hashes import close_pairs, perceptual_hash, thumbnails_agree
from covtool.auditing.predictions_file import read_predictions
from covtool.data.datasets.survey import Survey, SurveyedImage
from covtool.errors import DataError


def clusters(seed=0, classes=3, each=12, features=8):
    """Features around a center for each class, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centers = 4 * random.standard_normal((classes, features))
    values = centers[labels] + random.standard_normal((len(labels), features))
    return torch.from_numpy(values).float(), torch.from_numpy(labels)


def test_the_label_of_an_image_does_not_decide_what_it_looks_like():
    features, labels = clusters()
    scores = left_out_scores(features, labels, 3)
    changed = labels.clone()
    changed[5] = 2
    again = left_out_scores(features, changed, 3)
    assert scores[5].argmax() == labels[5] == again[5].argmax()


def test_exchanged_labels_come_first():
    features, labels = clusters()
    noisy = labels.clone()
    noisy[[3, 20]] = torch.tensor([2, 0])
    margin, suggested = margins(left_out_scores(features, noisy, 3), noisy)
    assert set(worst_first(margin.tolist())[:2].tolist()) == {3, 20}
    assert suggested[[3, 20]].tolist() == [0, 1]
    assert (margin > 0.3).sum() == 2


def test_the_nearest_others_are_those_of_a_table_of_all_pairs():
    features, _ = clusters()
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    table = (unit @ unit.T).fill_diagonal_(-2)
    nearest = nearest_others(features)
    assert torch.equal(nearest.places[:, 0], table.argmax(dim=1))
    assert torch.allclose(nearest.similarities[:, 0].double(), table.max(dim=1).values, atol=1e-6)
    least = table.flatten().sort().values[-6].item() - 1e-5
    pairs = {(i, j) for i, j in (table >= least).nonzero().tolist() if i < j}
    assert set(alike_by_embedding(nearest, least)) == pairs


def test_similarity_to_the_class_leaves_the_image_itself_out():
    features, labels = clusters()
    labels = torch.cat([labels, torch.tensor([3])])
    features = torch.cat([features, features[:1]])
    similarity = similarity_to_class(features, labels)
    unit = torch.nn.functional.normalize(features, dim=1)
    others = unit[1:12].mean(dim=0)
    expected = torch.cosine_similarity(unit[0], others, dim=0)
    assert similarity[0] == pytest.approx(float(expected), abs=1e-6)
    assert similarity[-1].isnan()  # the only image of its class


def test_deviations_are_robust_and_unknown_where_nothing_is_known():
    values = np.array([1.0, 1.1, 0.9, 1.05, 0.95, -3.0])
    assert deviations_below(values).argmax() == 5
    assert deviations_below(values)[5] > 20
    assert np.isnan(deviations_below(values[:4])).all()
    assert np.isnan(deviations_below(np.ones(9))).all()
    by_class = deviations_by_class(np.concatenate([values, values + 50]), np.repeat([0, 1], 6))
    assert by_class[:6] == pytest.approx(by_class[6:])


def test_close_pairs_are_those_of_all_pairs():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**63, 40).astype(np.uint64)
    hashes[7] = hashes[3] ^ np.uint64(0b1011)
    found = set(close_pairs(hashes, 24))
    expected = {
        (i, j, (int(hashes[i]) ^ int(hashes[j])).bit_count())
        for i in range(40)
        for j in range(i + 1, 40)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= 24
    }
    assert found == expected
    assert (3, 7, 3) in found


def test_plain_areas_have_no_hash_and_thumbnails_tell_patterns_apart():
    assert perceptual_hash(Image.new("RGB", (64, 64), "gray")) is None
    ramp = np.tile(np.arange(8.0), (8, 1))
    assert thumbnails_agree(ramp, 3 * ramp + 5)
    assert not thumbnails_agree(ramp, ramp.T)
    assert not thumbnails_agree(ramp, np.ones((8, 8)))


def test_groups_are_what_pairs_connect():
    assert components([(4, 5), (1, 2), (2, 7), (7, 4)]) == [[1, 2, 4, 5, 7]]


@pytest.fixture
def images(tmp_path):
    listed = [SurveyedImage(tmp_path / f"{at}.png", "ab"[at % 2]) for at in range(4)]
    return Images.of(
        Survey(
            root=tmp_path,
            folder=tmp_path,
            layout="",
            why="",
            task="classification",
            splits={"all": listed},
        )
    )


def test_predictions_of_folds_say_what_images_were_taken_for(images, tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text(
        "path,label,predicted,probability,loss,fold,seed\n"
        "0.png,a,b,0.9,2.995732,1,0\n"  # its own class has 5 %
        "1.png,b,b,0.8,0.22,1,0\n"
        f"{tmp_path}/2.png,a,b,0.6,0.916291,2,0\n"  # 40 %
        "3.png,a,b,0.9,3,2,0\n"  # has another label now
        "gone.png,a,b,0.9,3,2,0\n"
    )
    read = read_predictions(file, images)
    assert read.predicted == 3
    assert read.margins[0] == (pytest.approx(0.85, abs=1e-6), "b")
    assert read.margins[2] == (pytest.approx(0.2, abs=1e-6), "b")
    assert set(read.margins) == {0, 2}
    assert len(read.notes) == 2


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,label\n0.png,a\n", "no column 'predicted'"),
        ("path,identity,found,found_identity\n0.png,a,1.png,b\n", "is of a search"),
        ("path,label,predicted,probability\n0.png,a,b,7\n", "line 2: 7 is no probability"),
        ("path,label,predicted,probability\nx.png,a,b,0.5\n", "None of the images"),
    ],
)
def test_files_that_are_no_predictions_are_refused(images, tmp_path, text, match):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=match):
        read_predictions(tmp_path / "p.csv", images)

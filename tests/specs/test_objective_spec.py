import pytest

from covtool.errors import ArgumentError, UnknownVariantError
from covtool.specs import FaultSpec, FinetuneRequest, ObjectiveSpec, TrainingSpec
from covtool.specs.losses import LOSSES, parse_loss
from covtool.specs.objective import CIRCLE_MARGIN, CIRCLE_SCALE, NUM_INSTANCES


def refuse(training=None, *, faults=None, **objective):
    request = FinetuneRequest(
        model="m",
        data="d",
        training=TrainingSpec(**(training or {})),
        objective=ObjectiveSpec(**objective),
        faults=FaultSpec(**(faults or {})),
    )
    request.validate_fields()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ce", [("ce", 1.0)]),
        ("ce+0.5*triplet", [("ce", 1.0), ("triplet", 0.5)]),
        (" 2 * bce +\t.25*circle", [("bce", 2.0), ("circle", 0.25)]),
        ("3.*triplet+ce+circle", [("triplet", 3.0), ("ce", 1.0), ("circle", 1.0)]),
    ],
)
def test_a_sum_is_read_term_by_term(text, terms):
    assert [(term.name, term.weight) for term in parse_loss(text)] == terms


@pytest.mark.parametrize(
    "text", ["", "+", "ce+", "ce++bce", "-ce", "1*", "*ce", "1e-3*ce", "-1*ce", "ce*2", "2*3*ce"]
)
def test_what_is_no_sum_is_refused(text):
    with pytest.raises(ArgumentError, match=r"is not a term of a loss|There is no loss"):
        parse_loss(text)


def test_an_unknown_loss_is_refused_with_a_guess_and_the_table():
    with pytest.raises(UnknownVariantError, match="Did you mean 'triplet'") as caught:
        parse_loss("ce+tripled")
    assert all(name in caught.value.hint for name in LOSSES.names)


@pytest.mark.parametrize(("text", "message"), [("ce+0*bce", "no effect"), ("ce+ce", "twice")])
def test_terms_without_effect_and_repeated_ones_are_refused(text, message):
    with pytest.raises(ArgumentError, match=message):
        parse_loss(text)


@pytest.mark.parametrize("row", list(LOSSES), ids=lambda row: row.name)
def test_a_loss_of_the_table_makes_sense_alone_and_in_a_sum(row):
    for loss in (
        row.name,
        *(f"{other}+0.1*{row.name}" for other in {"ce", "triplet"} - {row.name}),
    ):
        objective = ObjectiveSpec(loss=loss)
        refuse(loss=loss)
        assert objective.needs(row.needs)
    assert not ObjectiveSpec(loss="ce").needs("embeddings")
    assert not ObjectiveSpec(loss="triplet+circle").needs("logits")


@pytest.mark.parametrize(
    ("objective", "training", "message"),
    [
        ({"triplet_margin": 0.3}, {}, "--triplet-margin has no effect on --loss ce"),
        ({"circle_margin": 0.25}, {}, "--circle-margin has no effect"),
        ({"circle_scale": 64, "loss": "ce+triplet"}, {}, "--circle-scale has no effect"),
        ({"num_instances": 4}, {}, "--num-instances has no effect with --sampler random"),
        ({"num_instances": 4, "sampler": "balanced"}, {}, "with --sampler balanced"),
        ({"sampler": "pk"}, {"batch_size": 30}, r"not a multiple of the 4[\s\S]*--batch-size 28"),
        ({"sampler": "pk", "num_instances": 8}, {"batch_size": 9}, "Use --batch-size 16"),
        ({"loss": "ce+triplet"}, {"mixup": 0.2}, "leave none of one class"),
        ({"loss": "circle"}, {"cutmix": 1.0}, "leave none of one class"),
        ({"loss": "triplet"}, {"smoothing": 0.2}, "--smoothing 0.2 has no effect"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(objective, training, message):
    with pytest.raises(ArgumentError, match=message):
        refuse(training, **objective)


@pytest.mark.parametrize(
    ("objective", "training"),
    [
        ({"loss": "ce+triplet", "triplet_margin": 0.0}, {"smoothing": 0.2}),
        ({"loss": "circle", "circle_margin": 0.4, "circle_scale": 80}, {"smoothing": 0.0}),
        ({"loss": "bce"}, {"mixup": 0.2, "smoothing": 0.0}),
        ({"sampler": "pk", "num_instances": 8}, {"mixup": 0.2}),
    ],
)
def test_settings_that_belong_together_are_taken(objective, training):
    refuse(training, **objective)


def test_parts_of_batches_are_no_batches_to_compare_images_in():
    refuse(faults={"auto_batch": True})
    with pytest.raises(ArgumentError, match="--auto-batch would compare those of a part"):
        refuse(loss="ce+circle", faults={"auto_batch": True})


def test_what_is_not_given_has_its_default():
    objective = ObjectiveSpec()
    assert (objective.instances, objective.margin, objective.scale) == (
        NUM_INSTANCES,
        CIRCLE_MARGIN,
        CIRCLE_SCALE,
    )
    given = ObjectiveSpec(num_instances=2, circle_margin=0.5, circle_scale=3.0)
    assert (given.instances, given.margin, given.scale) == (2, 0.5, 3.0)

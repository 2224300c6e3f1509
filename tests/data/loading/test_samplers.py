"""Laws of every order of the table, and what each promises about its counts."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from covtool.data.loading.batch_sampler import BatchSampler, Shard
from covtool.data.loading.samplers import SAMPLERS, SamplerRow, occurrences
from covtool.data.rendering.draws import Draw
from covtool.errors import ArgumentError
from covtool.specs import ObjectiveSpec

every = pytest.mark.parametrize("row", list(SAMPLERS), ids=lambda row: row.name)

LABELS = {
    "even": [0, 1, 2, 3, 4, 5] * 8,
    "long tail": [0] * 40 + [1] * 9 + [2] * 8 + [3] * 5 + [4] * 2 + [7],
    "many": list(np.random.default_rng(0).integers(0, 40, 300)),
    "two": [0] * 5 + [1] * 11,
}
of_each = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)


def order_of(row: SamplerRow, labels, *, batch_size=8, num_instances=None, seed=3):
    instances = num_instances if row.name == "pk" else None
    objective = ObjectiveSpec(sampler=row.name, num_instances=instances)
    return row.build(labels, objective, batch_size, seed)


def batches_of(order, epoch, *, rank=0, world=1, start=0, batch_size=8):
    sampler = BatchSampler(order, batch_size=batch_size, shard=Shard(rank, world))
    sampler.set_epoch(epoch, start=start)
    return list(sampler)


def test_the_command_line_offers_the_rows_of_the_table() -> None:
    assert ObjectiveSpec.model_fields["sampler"].annotation.__args__ == SAMPLERS.names


@every
@of_each
def test_an_epoch_has_its_stated_length_and_indices_of_images(row, labels) -> None:
    order = order_of(row, labels)
    for epoch in range(3):
        images = order(epoch)
        assert images.shape == (len(order),)
        assert set(images.tolist()) <= set(range(len(labels)))


@every
@of_each
def test_an_order_is_a_function_of_seed_and_epoch_alone(row, labels) -> None:
    one, two = order_of(row, labels), order_of(row, labels)
    two(5)
    for epoch in (2, 0, 1):
        np.testing.assert_array_equal(one(epoch), two(epoch))
    assert not np.array_equal(one(0), one(1))
    assert not np.array_equal(one(0), order_of(row, labels, seed=4)(0))


@every
@of_each
@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_several_processes_make_up_the_same_batches(row, labels, world) -> None:
    order = order_of(row, labels)
    parts = [batches_of(order, 1, rank=rank, world=world) for rank in range(world)]
    together = [list(chain(*part)) for part in zip(*parts, strict=True)]
    assert together == batches_of(order, 1)


@every
@of_each
def test_starting_in_the_middle_gives_the_tail_with_the_same_draws(row, labels) -> None:
    order = order_of(row, labels)
    whole = batches_of(order, 2)
    for start in range(len(whole) + 1):
        assert batches_of(order, 2, start=start) == whole[start:]


@every
@of_each
def test_no_two_draws_of_an_epoch_are_the_same(row, labels) -> None:
    draws = [draw for batch in batches_of(order_of(row, labels), 0) for draw in batch]
    assert len(set(draws)) == len(draws)


@every
@of_each
def test_the_images_of_a_class_are_used_evenly_within_an_epoch(row, labels) -> None:
    images = Counter(order_of(row, labels)(1).tolist())
    for label in set(labels):
        counts = [images[i] for i, other in enumerate(labels) if other == label]
        assert max(counts) - min(counts) <= 1


@of_each
def test_random_has_every_image_once(labels) -> None:
    images = order_of(SAMPLERS["random"], labels)(3)
    assert sorted(images.tolist()) == list(range(len(labels)))


@of_each
def test_balanced_has_every_class_equally_often_and_as_many_images_as_there_are(labels) -> None:
    order = order_of(SAMPLERS["balanced"], labels)
    assert len(order) == len(labels)
    for epoch in range(4):
        counts = Counter(labels[i] for i in order(epoch))
        assert set(counts) == set(labels)
        assert max(counts.values()) - min(counts.values()) <= 1


@of_each
@pytest.mark.parametrize("epochs", [1, 2, 5, 11])
def test_balanced_evens_out_classes_and_images_over_the_epochs(labels, epochs) -> None:
    order = order_of(SAMPLERS["balanced"], labels)
    images = Counter(i for epoch in range(epochs) for i in order(epoch).tolist())
    of_class = Counter()
    for index, count in images.items():
        of_class[labels[index]] += count
    assert max(of_class.values()) - min(of_class.values()) <= 1
    for label in of_class:
        counts = [images[i] for i, other in enumerate(labels) if other == label]
        assert max(counts) - min(counts) <= 1


@of_each
@pytest.mark.parametrize(("batch_size", "num_instances"), [(8, 4), (8, None), (6, 3), (4, 2)])
def test_pk_has_batches_of_p_classes_with_k_images_each(labels, batch_size, num_instances) -> None:
    order = order_of(SAMPLERS["pk"], labels, batch_size=batch_size, num_instances=num_instances)
    k = num_instances or 4
    batches = batches_of(order, 1, batch_size=batch_size)
    assert len(batches) * batch_size == len(order)
    sizes = Counter(labels)
    for batch in batches:
        groups = [batch[at : at + k] for at in range(0, batch_size, k)]
        classes = [{labels[draw.index] for draw in group} for group in groups]
        assert all(len(found) == 1 for found in classes)
        assert len(set.union(*classes)) == batch_size // k
        for group, (label,) in zip(groups, classes, strict=True):
            # An image comes twice in a batch only where its class has too few.
            assert len({draw.index for draw in group}) == min(k, sizes[label])


def test_pk_uses_every_image_where_the_classes_fill_the_batches() -> None:
    order = order_of(SAMPLERS["pk"], [0] * 8 + [1] * 7 + [2] * 6 + [3] * 5)
    assert len(order) == 32
    assert set(order(0).tolist()) == set(range(26))


def test_pk_leaves_out_as_little_as_distinct_classes_allow() -> None:
    """Of 10 + 3 + 2 + 2 + 1 + 1 groups, 9 pairs: the largest class has no more partners."""
    order = order_of(SAMPLERS["pk"], LABELS["long tail"])
    assert len(order) == 9 * 8
    seen = Counter(i for epoch in range(200) for i in order(epoch).tolist())
    assert set(seen) == set(range(len(LABELS["long tail"])))


def test_pk_lets_every_two_classes_meet() -> None:
    order = order_of(SAMPLERS["pk"], LABELS["even"])
    meetings = {
        frozenset(LABELS["even"][draw.index] for draw in batch)
        for epoch in range(40)
        for batch in batches_of(order, epoch)
    }
    assert len(meetings) == 15  # pairs of six classes


@pytest.mark.parametrize("batch_size", [4, 28])
def test_pk_refuses_batches_that_it_cannot_fill(batch_size) -> None:
    with pytest.raises(ArgumentError, match=r"takes 2 to 6\..*\n.*8 to 24 images"):
        order_of(SAMPLERS["pk"], LABELS["even"], batch_size=batch_size)


def test_occurrences_count_what_came_before() -> None:
    generator = np.random.default_rng(1)
    for size in (1, 2, 50):
        indices = generator.integers(0, 9, size)
        expected = [list(indices[:at]).count(index) for at, index in enumerate(indices)]
        assert occurrences(indices).tolist() == expected


def test_a_first_draw_has_the_entropy_of_epoch_and_index_alone() -> None:
    assert Draw(2, 7).entropy == (2, 7)
    assert Draw(2, 7, 3).entropy == (2, 7, 3)

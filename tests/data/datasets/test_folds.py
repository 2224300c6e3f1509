"""Laws of folds: every image once, classes evenly, groups whole, whatever the order."""

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from covtool.data.datasets.folds import grouped_folds, stratified_folds

LABELS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=60)
FOLDS = st.integers(2, 7)


def shuffled(draw, items):
    return draw(st.permutations(items))


@settings(max_examples=60, deadline=None)
@given(st.data(), LABELS, FOLDS)
def test_folds_by_class(data, labels, folds) -> None:
    names = [f"{number}.png" for number in range(len(labels))]
    found = stratified_folds(labels, names, folds)
    assert set(found) <= set(range(1, folds + 1))
    for group in (found, *of_each(labels, found).values()):
        assert spread(group, folds) <= 1
    order = shuffled(data.draw, range(len(labels)))
    again = stratified_folds([labels[at] for at in order], [names[at] for at in order], folds)
    assert [found[at] for at in order] == again


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=60), FOLDS)
def test_folds_by_group(data, groups, folds) -> None:
    found = grouped_folds(groups, folds)
    fold_of = defaultdict(set)
    for group, fold in zip(groups, found, strict=True):
        fold_of[group].add(fold)
    assert all(len(several) == 1 for several in fold_of.values())
    assert spread([min(several) for several in fold_of.values()], folds) <= 1
    order = shuffled(data.draw, range(len(groups)))
    assert [found[at] for at in order] == grouped_folds([groups[at] for at in order], folds)


def test_an_image_that_is_listed_again_is_in_one_fold() -> None:
    found = stratified_folds(["a"] * 6, ["1", "2", "3", "4", "1", "1"], 2)
    assert found[0] == found[4] == found[5]
    assert spread(found[:4], 2) == 0


def test_more_images_of_one_class_keep_the_order_of_the_others() -> None:
    """Only the place where the deal through the other classes begins may change."""
    names = [str(number) for number in range(8)]
    few = stratified_folds(["a"] * 4 + ["b"] * 4, names, 4)
    more = stratified_folds(["a"] * 6 + ["b"] * 4, [*names[:4], "x", "y", *names[4:]], 4)
    turned = {(before - after) % 4 for before, after in zip(few[4:], more[6:], strict=True)}
    assert len(turned) == 1


def test_large_groups_do_not_meet_in_one_fold() -> None:
    groups = ["large"] * 20 + ["larger"] * 22 + list("abcd")
    images = Counter(grouped_folds(groups, 2))
    assert max(images.values()) - min(images.values()) <= 2


def of_each(labels, folds):
    found = defaultdict(list)
    for label, fold in zip(labels, folds, strict=True):
        found[label].append(fold)
    return found


def spread(folds, number):
    counts = Counter(folds)
    sizes = [counts[fold] for fold in range(1, number + 1)]
    return max(sizes) - min(sizes)

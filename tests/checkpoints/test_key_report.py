import pytest

from covtool.checkpoints.key_report import compare_keys, group_keys

RESNET = [
    f"layer{stage}.{block}.{layer}.{leaf}"
    for stage in range(1, 5)
    for block in range(3)
    for layer in ("conv1", "bn1")
    for leaf in (("weight",) if layer == "conv1" else ("weight", "bias", "running_mean"))
]


def test_numbers_and_leaves_are_gathered():
    assert group_keys(["layer1.0.weight", "layer1.0.bias"]) == [("layer1.0.{weight,bias}", 2)]
    assert group_keys(RESNET) == [
        ("layer[1-4].[0-2].conv1.weight", 12),
        ("layer[1-4].[0-2].bn1.{weight,bias,running_mean}", 36),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 6])
def test_groups_stay_few_and_count_every_name(limit):
    names = [f"{stem}.{n}.sub{stem}.weight" for stem in "abcdefgh" for n in range(3)]
    groups = group_keys([*RESNET, *names], max_groups=limit)
    assert len(groups) <= limit
    assert sum(count for _, count in groups) == len(RESNET) + len(names)


def test_numbers_with_gaps_are_listed():
    assert group_keys(["a.0.w", "a.2.w", "a.5.w"]) == [("a.{0,2,5}.w", 3)]


def test_names_without_dots_stand_for_themselves():
    assert group_keys(["pos_embed"]) == [("pos_embed", 1)]
    assert group_keys([]) == []


def test_the_report_tells_the_three_kinds_of_difference_apart():
    expected = {"a.weight": (2, 3), "b.weight": (4,), "c.bias": (1,)}
    report = compare_keys(expected, {"a.weight": (2, 5), "b.weight": (4,), "d.bias": (1,)})
    assert (report.missing, report.unexpected) == (("c.bias",), ("d.bias",))
    assert report.other_shape == {"a.weight": ((2, 3), (2, 5))}
    assert report.lines() == [
        "  missing: c.bias",
        "  unexpected: d.bias",
        "  other shape: a.weight [2, 5], not [2, 3]",
    ]


def test_equal_sets_make_an_empty_report():
    assert not compare_keys({"a": (1,)}, {"a": (1,)})
    assert str(compare_keys({"a": (1,)}, {"a": (1,)})) == "no difference"

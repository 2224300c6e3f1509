"""The shipped names of architectures are those of the libraries, and count for no other version."""

import pytest

from covtool.backbones.build_index import learn_names
from covtool.backbones.create import InstalledNames
from covtool.backbones.names import (
    SHIPPED,
    installed_versions,
    matching,
    parts_of,
    read_names,
    shipped_names,
    write_names,
)
from covtool.errors import UnknownVariantError


@pytest.fixture(scope="module")
def learned():
    return learn_names()


def as_lists(names) -> list:
    return [
        *(dict(names.versions), list(names.listed), list(names.of_torchvision)),
        {name: tags and list(tags) for name, tags in names.tagged.items()},
        list(names.optimizers),
    ]


def test_shipped_names_are_those_of_the_pinned_libraries(learned) -> None:
    assert as_lists(read_names(SHIPPED)) == as_lists(learned)


def test_names_are_written_and_read(learned, tmp_path) -> None:
    write_names(learned, tmp_path / "names.xz")
    assert as_lists(read_names(tmp_path / "names.xz")) == as_lists(learned)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_names_of_other_versions_are_not_used(library: str, learned) -> None:
    assert matching(learned, installed_versions()) is learned
    assert matching(learned, {**installed_versions(), library: "0.0.1"}) is None
    assert matching(learned, {"timm": learned.versions["timm"]}) is None


def outcome(name: str, known) -> tuple:
    try:
        return parts_of(name, known)
    except UnknownVariantError as problem:
        return problem.message, problem.hint


@pytest.mark.parametrize(
    "name",
    [
        *("resnet50", "resnet50.a1_in1k", "resnet50.nope", "resnet5", "torchvision:resnet50"),
        *("torchvision:resnet5", "tf_efficientnet_b0_ns", "test_resnet.r160_in1k", "zzzz", "", "."),
        *("resnet50.", "vit_small_patch16_224_dino.x", "resnet50d.x.y", "efficientnet_b9"),
    ],
)
def test_shipped_names_answer_as_the_libraries_do(name: str) -> None:
    shipped = shipped_names()
    assert shipped is not None
    assert outcome(name, shipped) == outcome(name, InstalledNames())

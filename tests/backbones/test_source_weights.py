"""Weights are timm's where that is certain, and of no license otherwise."""

import pytest
import timm
from timm.models import get_pretrained_cfg

from covtool.backbones.source_weights import source_weights


@pytest.mark.parametrize(
    "name", ["resnet50.a1_in1k", "resnet50", "hf-hub:timm/resnet50.a1_in1k@main"]
)
def test_a_name_of_timm_has_the_license_of_its_configuration(name):
    found = source_weights(name, None)
    config = get_pretrained_cfg(found.name)
    assert (found.license, found.hub_id) == (config.license, config.hf_hub_id)
    assert found.name.startswith("resnet50.")


def test_no_license_is_made_of_one_that_timm_does_not_know():
    unknown = next(
        name
        for name in timm.list_pretrained()
        if get_pretrained_cfg(name).license in (None, "unknown")
    )
    assert source_weights(unknown, None).license is None


@pytest.mark.parametrize(
    "name",
    ["", "no_such_net", "resnet50.no_such_tag", "a/b", "../resnet50", "torchvision:resnet50", "é"],
)
def test_another_name_is_nothing(name):
    assert source_weights(name, None) is None


def test_a_file_counts_by_its_checksum():
    name = "resnet50_a1_0-14fe96d1.pth"
    assert source_weights(name, "14fe96d1" + "0" * 56).name == "resnet50.a1_in1k"
    assert source_weights(name, "0" * 64) is None
    assert source_weights("mine-14fe96d1.pth", "14fe96d1" + "0" * 56) is None

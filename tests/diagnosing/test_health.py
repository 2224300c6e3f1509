import os
import re
import tomllib
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from covtool.diagnosing import health, tiny_training
from covtool.diagnosing.health import check_health
from covtool.errors import VerificationError

ROOT = Path(__file__).resolve().parents[2]


def check_of(report, words):
    (found,) = (check for check in report.checks if words in check.name)
    return found


def test_it_knows_what_is_installed_and_that_it_works():
    report = check_health()
    report.require_passed()
    assert report.versions["torch"] == torch.__version__
    assert report.versions["timm"] == timm.__version__
    assert report.extras["plots"] is not None
    assert report.devices[0].name == "cpu"
    assert len(report.devices) == 1 + torch.cuda.device_count() + torch.backends.mps.is_available()
    assert report.cores == len(os.sched_getaffinity(0))
    assert "logits" in check_of(report, "network on cpu").detail


def test_every_extra_is_told_by_its_name_with_a_package_of_it():
    """What an extra of the project needs is what is looked for; those of tests are left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(health.EXTRAS) == extras.keys() - {"demo", "test"}
    for extra, package in health.EXTRAS.items():
        assert package in {re.split(r"[><=]", line)[0] for line in extras[extra]}


def test_a_package_that_is_missing_is_none(monkeypatch):
    monkeypatch.setitem(health.EXTRAS, "imaginary", "no-such-package")
    assert check_health().extras["imaginary"] is None


def test_a_check_that_fails_is_told_with_the_others(monkeypatch):
    def mismatched():
        raise RuntimeError("operator torchvision::nms does not exist\nmore lines")

    monkeypatch.setattr(health, "_try_torchvision", mismatched)
    report = check_health()
    found = check_of(report, "torchvision")
    assert not found.passed
    assert found.detail == "RuntimeError: operator torchvision::nms does not exist"
    with pytest.raises(VerificationError, match=r"1 of \d checks failed: torchvision fits torch"):
        report.require_passed()


def test_arithmetic_that_is_wrong_is_noticed(monkeypatch):
    """As of a device that computes convolutions in too low a precision, or not at all."""
    forward = nn.Conv2d.forward

    def coarse(self, images):
        features = forward(self, images)
        return features if features.dtype == torch.float64 else features.half().float() * 1.05

    monkeypatch.setattr(nn.Conv2d, "forward", coarse)
    found = check_of(check_health(), "network on cpu")
    assert not found.passed
    assert "at most 1e-02 would be right" in found.detail
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: forward(self, x) * torch.nan)
    assert not check_of(check_health(), "network on cpu").passed


def test_little_shared_memory_is_a_failed_check_with_advice(monkeypatch):
    monkeypatch.setattr(health, "shared_memory_mib", lambda: 64.0)
    found = check_of(check_health(), "shared memory")
    assert not found.passed
    assert found.detail == "64 MiB in /dev/shm; in a container, start it with --shm-size 8g"


def test_the_tiny_network_is_the_same_every_time_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    first, second = (tiny_training.train_tiny_network("cpu") for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)

"""The smallest architecture of every module of timm, and torchvision's: converted, or refused."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

PARTS = 8  # for several workers
LARGEST = 120_000_000  # numbers: several copies fit into memory

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "registry.py"


@pytest.fixture(scope="module")
def registry():
    """The benchmark that records the same in benchmarks/results/registry.md."""
    spec = spec_from_file_location("registry_benchmark", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.filterwarnings("default")  # of the libraries' own models
def test_every_architecture_goes_through_or_is_refused(registry, part: int, tmp_path) -> None:
    sizes = registry.sizes_of_architectures()
    names = [n for n in registry.smallest_architectures().values() if sizes[n] <= LARGEST]
    outcomes = {name: registry.try_architecture(name, tmp_path) for name in names[part::PARTS]}
    failures = {
        (name, step): outcome
        for name, found in outcomes.items()
        for step, outcome in found.items()
        if outcome.startswith(("crash", "wrong"))
    }
    assert outcomes
    assert failures == {}

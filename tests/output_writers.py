"""Everything in the library that writes a file which a user names: a row each."""

import os
import resource
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from covtool.atomic import written_whole
from covtool.backbones.create import parse_name
from covtool.checkpoints.model_file import save
from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.evaluation.features.files import write_features
from covtool.evaluation.features.table import FeatureTable, ImageLabels
from covtool.evaluation.retrieval.rank_sheet import save_ranks
from covtool.plotting.operators import plot_operators
from covtool.specs import InputSpec, Provenance, Recipe, RetrievalSpec
from covtool.specs.plotting import OperatorPlotSpec


def write_anything(path, *, overwrite):
    with written_whole(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(bytes(20_000))


def write_model(path, *, overwrite):
    model = nn.Linear(100, 50)
    model.recipe = Recipe(
        base=parse_name("test_resnet")[0],
        operations=(),
        num_classes=50,
        input=InputSpec(size=(96, 96)),
        provenance=Provenance(covtool_version="test"),
    )
    save(model, path, overwrite=overwrite)


def write_table(path, *, overwrite):
    labels = tuple(ImageLabels(f"{row}.png") for row in range(400))
    table = FeatureTable(features=torch.rand(400, 16), labels=labels)
    write_features(path, table, overwrite=overwrite)


def write_sheet(path, *, overwrite):
    features = FeatureSet(features=torch.eye(3)[[0, 0, 1]], identities=torch.tensor([1, 1, 2]))
    result = evaluate_retrieval(features, spec=RetrievalSpec(metric="euclidean"), keep=2)
    images = [RetrievalSample(Path("nowhere.png"), name) for name in "112"]
    save_ranks(path, result, images, images, overwrite=overwrite)


def write_figure(path, *, overwrite):
    plot_operators(path, OperatorPlotSpec(panel="h"), overwrite=overwrite)


WRITERS = {
    "any.bin": write_anything,
    "model.safetensors": write_model,
    "features.safetensors": write_table,
    "features.npz": write_table,
    "features.csv": write_table,
    "operators.svg": write_figure,
    "ranks.png": write_sheet,
}
"""By the name that each of them writes to."""


@contextmanager
def largest_file(num_bytes):
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder, *, size="16k", options=""):
    """A file system of a few pages on a folder, where this process may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", folder]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("this process may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def contents(folder):
    """Names and bytes of everything in a folder, hidden files too."""
    paths = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return {path: path.read_bytes() for path in paths}

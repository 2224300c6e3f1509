"""A tiny model in a file, for searches."""

import torch

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.specs import BaseSpec, EigenlayerSpec, InputSpec, Provenance, Recipe
from covtool.surgery import apply_eigenlayer, plan_eigenlayer

SMALL = InputSpec(size=(32, 32))


def make_model(*, eigenlayer: int | None = None) -> torch.nn.Module:
    """test_resnet for 3 classes at random, with its recipe."""
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model, operations = create_model(base, num_classes=3), ()
    if eigenlayer is not None:
        spec = EigenlayerSpec(features=eigenlayer, init="random")
        model = apply_eigenlayer(model, plan_eigenlayer(model, spec, SMALL))
        operations = (spec,)
    model.recipe = Recipe(
        base=base,
        operations=operations,
        num_classes=3,
        input=SMALL,
        provenance=Provenance(covtool_version="0"),
    )
    return model.eval()


def write_model(folder, **settings):
    """Such a model in a covtool file."""
    return save(make_model(**settings), folder / "net.safetensors")

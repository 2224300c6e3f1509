"""Tiny models of one structure in files, for averages and differences."""

import torch
from toy_data import COLORS

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe

SMALL = InputSpec(size=(32, 32))


def make_variant(number=0, *, name="test_resnet", dtype=torch.float32, **changes):
    """A network for the toy data, with its own weights and statistics for each number."""
    torch.manual_seed(number)
    fields = {"class_names": COLORS, "input": SMALL, "steps": (), "untrained": (), **changes}
    classes = fields.pop("num_classes", 3)
    base = BaseSpec(library="timm", name=name)
    model = create_model(base, num_classes=classes)
    for key, buffer in model.named_buffers():
        if key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
        elif key.endswith("num_batches_tracked"):
            buffer.fill_(10 * number)
        elif buffer.is_floating_point():
            buffer.normal_(std=0.1)
    provenance = Provenance(
        covtool_version="0", steps=fields.pop("steps"), untrained=fields.pop("untrained")
    )
    model.recipe = Recipe(base=base, num_classes=classes, provenance=provenance, **fields)
    return model.to(dtype).eval()


def write_variant(folder, number=0, **changes):
    """Such a model in a covtool file."""
    return save(make_variant(number, **changes), folder / f"net{number}.safetensors")

"""Tiny models of each kind that leave covtool, in covtool files."""

from pathlib import Path

import torch
from families import lively_
from operation_cases import CASES, CLASSES, IMAGES, RESNET, VIT
from torch import nn

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.specs import (
    BaseSpec,
    ConvolutionSpec,
    HeadSpec,
    InputSpec,
    Operation,
    Provenance,
    Recipe,
)
from covtool.specs.scores import ScoreSpec
from covtool.surgery.operations import OPERATIONS, PlanContext
from covtool.variants import CONVOLUTIONS, HEADS

NAMES = tuple(f"class {number}" for number in range(CLASSES))
SWIN = BaseSpec(library="timm", name="swin_tiny_patch4_window7_224")


def head(name: str, **changes: object) -> HeadSpec:
    sketch = {"sketch_size": 64} if "sketch_size" in HEADS[name].options else {}
    return HeadSpec(**{"head": name, "dim": 8, **sketch, **changes})


def model_of(*operations: Operation, base: BaseSpec = RESNET, images: InputSpec = IMAGES):
    """A network at random after some operations, with its recipe."""
    torch.manual_seed(0)
    model, done = create_model(base, num_classes=CLASSES), []
    for operation in operations:
        row = OPERATIONS[operation.operation]
        plan = row.plan(model, operation, PlanContext(images=images))
        model, done = row.apply(model, plan), [*done, plan.spec]
    model = _without_zeros_(lively_(model)).eval()
    model.recipe = Recipe(
        base=base,
        operations=tuple(done),
        num_classes=CLASSES,
        class_names=NAMES,
        input=images,
        provenance=Provenance(covtool_version="0"),
        scores=ScoreSpec(temperature=2.5, method="validation", data="birds, val", images=10),
    )
    return model


def _without_zeros_(model: nn.Module) -> nn.Module:
    """The model itself; a fused head starts with a classifier of zeros for its own features."""
    generator = torch.Generator().manual_seed(3)
    for weight in model.parameters():
        if weight.ndim == 2 and (unused := (weight == 0).all(dim=0)).any():
            drawn = 0.1 * torch.randn(weight.shape, generator=generator)
            weight.data = torch.where(unused, drawn, weight.data)
    return model


def write_model_of(folder: Path, *operations: Operation, **settings: object) -> Path:
    return save(model_of(*operations, **settings), folder / "net.safetensors")


EVERY_HEAD = {name: (head(name),) for name in HEADS.names}
FUSED = {f"{n} beside gap": (head(n, fuse="gap"),) for n in ("isqrt", "cov", "bilinear", "cbp")}
EVERY_OPERATOR = {f"conv {n}": (ConvolutionSpec(conv=n),) for n in CONVOLUTIONS.names} | {
    f"angular {n}": (ConvolutionSpec(conv="tanh", angular=n, weighting="linear"),)
    for n in ("linear", "sigmoid", "square-cosine")
}
EVERY_OPERATION = {f"operation {name}": (case.spec,) for name, case in CASES.items()}
BASES = {f"operation {name}": case.base for name, case in CASES.items()}
TAPS = {
    "vit isqrt": ((head("isqrt"),), VIT, IMAGES),
    "two maps": ((head("isqrt", tap=("layer3", "layer4")),), RESNET, IMAGES),
    "two maps beside gap": (
        (head("isqrt", tap=("layer2", "layer3"), fuse="gap"),),
        RESNET,
        IMAGES,
    ),
    "vit two maps": ((head("isqrt", tap=("blocks.3", "blocks.5")),), VIT, IMAGES),
    "vit isqrt beside gap": ((head("isqrt", fuse="gap"),), VIT, IMAGES),
    "swin isqrt": ((head("isqrt"),), SWIN, InputSpec(size=(224, 224))),
}

"""An example of each operation, on a tiny network that has a place for it."""

from dataclasses import dataclass

import torch
from torch import nn

from covtool.backbones.create import create_model
from covtool.specs import (
    BaseSpec,
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    InstanceBatchNormSpec,
    LastStrideSpec,
    NeckSpec,
    Operation,
    PatchStrideSpec,
    StemSpec,
)

SIDE = 64
IMAGES = InputSpec(size=(SIDE, SIDE))
CLASSES = 5
RESNET = BaseSpec(library="timm", name="test_resnet")
VIT = BaseSpec(library="timm", name="test_vit", arguments={"img_size": [SIDE, SIDE]})


@dataclass(frozen=True)
class Case:
    spec: Operation
    base: BaseSpec = RESNET

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return create_model(self.base, num_classes=CLASSES)


CASES = {
    "last-stride": Case(LastStrideSpec()),
    "ibn": Case(InstanceBatchNormSpec()),
    "stem": Case(StemSpec(activation="none")),
    "patch-stride": Case(PatchStrideSpec(stride=8), VIT),
    "conv": Case(ConvolutionSpec(conv="tanh")),
    "head": Case(HeadSpec(dim=8)),
    "neck": Case(NeckSpec()),
    "eigenlayer": Case(EigenlayerSpec(features=4)),
}

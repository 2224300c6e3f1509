"""Small networks of the families that people use, with random weights."""

from functools import cache

import torch
from torch import Tensor, nn

from covtool.backbones.create import create_model, parse_name
from covtool.specs import InputSpec

# Small members of the families that people use, at sizes that leave more than one position.
FAMILIES = {
    "test_resnet": 96,
    "vgg11": 64,
    "densenet121": 64,
    "mobilenetv3_small_050": 96,
    "test_efficientnet": 96,
    "test_convnext": 96,
    "test_vit": 160,
    "regnetx_002": 96,
    "swin_tiny_patch4_window7_224": 224,
    "torchvision:resnet18": 96,
    "torchvision:vgg11": 64,
    "torchvision:densenet121": 64,
    "torchvision:mobilenet_v2": 96,
    "torchvision:mobilenet_v3_small": 96,
    "torchvision:efficientnet_b0": 96,
    "torchvision:convnext_tiny": 96,
    "torchvision:regnet_y_400mf": 96,
    "torchvision:shufflenet_v2_x0_5": 96,
    "torchvision:swin_t": 96,
    "torchvision:vit_b_16": 224,
}
CLASSES = 11


@cache
def family(name: str) -> tuple[nn.Module, InputSpec]:
    torch.manual_seed(0)
    model = create_model(parse_name(name)[0], num_classes=CLASSES)
    return model, InputSpec(size=(FAMILIES[name], FAMILIES[name]))


LARGE = {
    "vgg11",
    "torchvision:vit_b_16",
    "swin_tiny_patch4_window7_224",
    "torchvision:convnext_tiny",
    "torchvision:densenet121",
}
"""Those that take seconds and have a smaller or quicker one of their kind beside them."""


def some_images(images: InputSpec, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, images.channels, *images.size, generator=generator)


def lively_(model: nn.Module) -> nn.Module:
    """`model` itself, with every scale of a norm or layer near 1.

    Fresh networks multiply whole branches by 0 or 1e-6, and some classifiers are zero: what is
    in there would not matter.
    """
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and name.endswith(("weight", "gamma")):
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
            elif not parameter.any():  # torchvision's ViT starts with a classifier of zeros
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model

"""ResNets and torchvision's networks that code bases store under other names."""

import torch

from code_base_layouts.architectures import DENSENET, RESNET, SMALL_RESNET, TORCHVISION_MOBILE
from code_base_layouts.layout import State, layout, sub, under


def detectron2(state: State) -> dict[str, torch.Tensor]:
    new = sub(
        state,
        (r"^conv1\.", "stem.conv1."),
        (r"^bn1\.", "stem.conv1.norm."),
        (r"^(layer.*)\.bn(\d)\.", r"\1.conv\2.norm."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"\.downsample\.1\.", ".shortcut.norm."),
        (r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}."),
        (r"^fc\.", "linear."),
    )
    return under("backbone.bottom_up.", new, "none of them")


def vissl(state: State) -> dict[str, torch.Tensor]:
    return {n if n.startswith("fc.") else f"trunk._feature_blocks.{n}": t for n, t in state.items()}


def by_index(state: State) -> dict[str, torch.Tensor]:
    children = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7, "fc": 9}
    return sub(state, (r"^(\w+)\.", lambda m: f"backbone.{children[m[1]]}."))


def densenet_features(state: State) -> dict[str, torch.Tensor]:
    return sub(state, (r"^features\.", "0."))


def features_by_index(state: State) -> dict[str, torch.Tensor]:
    return sub(state, (r"^features\.", "backbone.0."), (r"^classifier\.", "backbone.classifier."))


def densenet_dotted(state: State) -> dict[str, torch.Tensor]:
    return sub(state, (r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2."))


LAYOUTS = [
    layout("detectron2", "resnet18", RESNET, detectron2, arguments=SMALL_RESNET),
    layout("detectron2", "resnet50", RESNET, detectron2, arguments=SMALL_RESNET),
    layout("vissl", "resnet50", RESNET, vissl, arguments=SMALL_RESNET),
    layout("resnet-by-index", "resnet18", RESNET, by_index, arguments=SMALL_RESNET),
    layout(
        "densenet-features", "torchvision:densenet121", DENSENET, densenet_features, is_large=True
    ),
    layout(
        "features-by-index",
        "torchvision:mobilenet_v2",
        TORCHVISION_MOBILE,
        features_by_index,
        family="mobilenet_v2|efficientnet",
    ),
    layout(
        "features-by-index",
        "torchvision:efficientnet_b0",
        TORCHVISION_MOBILE,
        features_by_index,
        family="mobilenet_v2|efficientnet",
        is_large=True,
    ),
    layout("densenet-dotted", "torchvision:densenet121", DENSENET, densenet_dotted, is_large=True),
]

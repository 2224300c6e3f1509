"""Layers between pooling and classifier, in the place of the pooling: the neck."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

# Names of children are keys of the state dict, and files have them: they stay as they are.
_NAMES = {
    "linear": "linear",
    "linear-without-bias": "linear",
    "batchnorm": "bn",
    "relu": "act",
}


class Neck(nn.Sequential):
    """Layers from pooled features to those that describe an image and enter the classifier.

    Args:
        in_features: Length of the pooled vector.
        layers: Kinds of the layers, in order: ``linear``, ``linear-without-bias``, ``batchnorm``,
            ``relu``; each at most once.
        features: Outputs of the linear layer; None where there is none.

    Attributes:
        in_features: Length of the pooled vector.
        num_features: Length of the output.

    Shape:
        (B, in_features) -> (B, num_features)

    Source:
        Luo, Gu, Liao, Lai, Jiang. "Bag of Tricks and a Strong Baseline for Deep Person
        Re-identification", CVPR Workshops 2019 (a batch norm alone, the BNNeck).
    """

    def __init__(self, in_features: int, layers: Sequence[str], features: int | None) -> None:
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        length = in_features
        for layer in layers:
            if layer.startswith("linear"):
                modules[_NAMES[layer]] = nn.Linear(length, features, bias=layer == "linear")
                length = features
            else:
                modules[_NAMES[layer]] = (
                    nn.BatchNorm1d(length) if layer == "batchnorm" else nn.ReLU()
                )
        super().__init__(modules)
        self.in_features = in_features
        self.num_features = length


class NeckPooling(nn.Module):
    """A pooling and the neck behind it.

    Args:
        pooling: Pooling from a feature map to one number for each channel.
        neck: Layers that follow it.

    Shape:
        As `pooling` takes it -> (B, neck.num_features)
    """

    def __init__(self, pooling: nn.Module, neck: Neck) -> None:
        super().__init__()
        self.pooling = pooling
        self.neck = neck

    def forward(self, features: Tensor) -> Tensor:
        # Some poolings put out (B, F, 1, 1), which a batch norm of vectors refuses.
        return self.neck(self.pooling(features).flatten(1))

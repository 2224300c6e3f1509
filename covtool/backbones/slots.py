"""Models that pool in a function get a module for it, so that there is a place to operate on.

Outputs and parameter names stay the same; only the class of the model gains a method.
"""

from collections.abc import Callable

import torch
from timm.layers import global_pool_nlc
from torch import Tensor, nn
from torchvision.models import DenseNet, MNASNet, MobileNetV2, ShuffleNetV2, VisionTransformer

from covtool.layers.mixing import mix_in

SLOT = "covtool_pool"


class TokenPooling(nn.Module):
    """timm's pooling of tokens as a module: (B, N, C) -> (B, C).

    Args:
        pool_type: ``token`` (the class token), ``avg``, ``avgmax``, ``max``.
        num_prefix_tokens: Class and register tokens at the front.
    """

    def __init__(self, pool_type: str, num_prefix_tokens: int) -> None:
        super().__init__()
        self.pool_type = pool_type
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, tokens: Tensor) -> Tensor:
        return global_pool_nlc(
            tokens, pool_type=self.pool_type, num_prefix_tokens=self.num_prefix_tokens
        )


class MapPooling(nn.Module):
    """Mean over all positions: (B, C, H, W) -> (B, C)."""

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(features, 1).flatten(1)


class _TimmTokens:
    def pool(self, tokens: Tensor, pool_type: str | None = None) -> Tensor:
        # timm calls it so only to ask for another pooling than its own.
        if pool_type is not None:
            return super().pool(tokens, pool_type)
        return getattr(self, SLOT)(tokens)

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None, **others: object
    ) -> None:
        super().reset_classifier(num_classes, global_pool, **others)
        if global_pool is not None:
            # timm changes its own attribute, which the slot does not read.
            getattr(self, SLOT).pool_type = global_pool


class _TorchvisionDenseNet:
    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.relu(self.features(images), inplace=True)
        return self.classifier(getattr(self, SLOT)(features))


class _TorchvisionFeatures:
    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(getattr(self, SLOT)(self.features(images)))


class _TorchvisionMNASNet:
    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(getattr(self, SLOT)(self.layers(images)))


class _TorchvisionShuffleNet:
    def forward(self, images: Tensor) -> Tensor:
        features = self.maxpool(self.conv1(images))
        features = self.stage4(self.stage3(self.stage2(features)))
        return self.fc(getattr(self, SLOT)(self.conv5(features)))


class _TorchvisionViT:
    def forward(self, images: Tensor) -> Tensor:
        tokens = self._process_input(images)
        class_token = self.class_token.expand(tokens.shape[0], -1, -1)
        tokens = self.encoder(torch.cat([class_token, tokens], dim=1))
        # torchvision's own forward pass indexes the class token here.
        return self.heads(getattr(self, SLOT)(tokens))


_TORCHVISION: dict[type[nn.Module], tuple[type, Callable[[], nn.Module]]] = {
    DenseNet: (_TorchvisionDenseNet, MapPooling),
    MobileNetV2: (_TorchvisionFeatures, MapPooling),
    MNASNet: (_TorchvisionMNASNet, MapPooling),
    ShuffleNetV2: (_TorchvisionShuffleNet, MapPooling),
    VisionTransformer: (_TorchvisionViT, lambda: TokenPooling("token", 1)),
}


def install_pooling_slot(model: nn.Module) -> nn.Module:
    """Return `model` itself, with a pooling module where its class pools in a function."""
    if hasattr(model, SLOT):
        return model
    found = _slot_for(model)
    if found is not None:
        mixin, pooling = found
        mix_in(model, mixin)
        setattr(model, SLOT, pooling)
    return model


def _slot_for(model: nn.Module) -> tuple[type, nn.Module] | None:
    for kind, (mixin, pooling) in _TORCHVISION.items():
        # Exactly: a subclass may have another forward pass, which the mixin would replace.
        if type(model) is kind:
            return mixin, pooling()
    pools_tokens = callable(getattr(model, "pool", None)) and isinstance(
        getattr(model, "global_pool", None), str
    )
    # An attention pooling has weights and is a module already.
    learned = getattr(model, "attn_pool", None) is not None
    if pools_tokens and model.global_pool and not learned:
        return _TimmTokens, TokenPooling(model.global_pool, getattr(model, "num_prefix_tokens", 0))
    return None

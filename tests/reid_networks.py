"""Networks as the code bases for re-identification define them, written from their definitions."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import timm
import torch
from torch import Tensor, nn
from torchvision import models

IDENTITIES = 5
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A network of a code base.

    Attributes:
        state: Its state dict, under the names of the code base.
        pooled: From images to what is pooled.
        describe: From what is pooled to what the code base compares.
        classify: From that to logits.
        beside: What else its files hold.
        size: Height and width of its images.
    """

    state: Mapping[str, Tensor]
    pooled: Forward
    describe: Forward
    classify: Forward
    beside: Mapping[str, object] = field(default_factory=dict)
    size: tuple[int, int] = (256, 128)

    def features(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.describe(self.pooled(images))

    def logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.classify(self.features(images))


class HalfInstanceNorm(nn.Module):
    """IBN-Net's norm (a)."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.half)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.IN(maps[:, : self.half]), self.BN(maps[:, self.half :])], dim=1)


def warmed(module: nn.Module) -> nn.Module:
    """In eval mode, with norms that are not the identity."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module.eval()


@cache
def drawn(name: str) -> tuple[nn.Module, Tensor]:
    """Draw millions of random numbers, once for each network; the generator goes on from there."""
    torch.manual_seed(0)
    return models.get_model(name), torch.get_rng_state()


def resnet(
    name: str = "resnet18", *, last_stride: int = 1, ibn: bool = False, unpadded: bool = False
) -> nn.Module:
    """torchvision's network, with what code bases change about it."""
    net, numbers = drawn(name)
    net = copy.deepcopy(net)
    torch.set_rng_state(numbers)
    del net.fc
    if last_stride == 1:
        first = net.layer4[0]
        for convolution in (first.conv1, first.conv2, first.downsample[0]):
            convolution.stride = (1, 1)
    if ibn:
        for stage in (net.layer1, net.layer2, net.layer3):
            for block in stage:
                block.bn1 = HalfInstanceNorm(block.bn1.num_features)
    if unpadded:
        net.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return warmed(net)


def maps_of(net: nn.Module, images: Tensor, *, relu: bool = True) -> Tensor:
    stem = net.bn1(net.conv1(images))
    maps = net.maxpool(net.relu(stem) if relu else stem)
    return net.layer4(net.layer3(net.layer2(net.layer1(maps))))


def record_statistics_(net: nn.Module, *, relu: bool) -> None:
    """Let the norms of stem and first stage record what a trained network would feed them."""
    nn.init.uniform_(net.bn1.weight, 0.1, 0.6)
    nn.init.normal_(net.bn1.bias, std=0.3)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
            norm.reset_running_stats()
    net.train()
    with torch.no_grad():
        maps_of(net, still_lifes(), relu=relu)
    net.eval()


def still_lifes(count: int = 8, side: int = 64) -> Tensor:
    """Images of boxes in front of each other: (count, 3, side, side)."""
    random = generator()
    images = torch.randn(count, 3, 1, 1, generator=random).repeat(1, 1, side, side)
    for image in images:
        for _ in range(120):
            height, width = (int(n) for n in 2 * 24 ** torch.rand(2, generator=random))
            top, left = (int(n) for n in side * torch.rand(2, generator=random))
            gray, tint = (torch.randn(n, 1, 1, generator=random) for n in (1, 3))
            image[:, top : top + height, left : left + width] = gray + tint / 3
    return images


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def average(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def generalized_mean(power: Tensor) -> Forward:
    return lambda maps: maps.clamp(min=1e-6).pow(power).mean((2, 3)).pow(1 / power)


def named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}


def classifier(inputs: int, *, bias: bool = False) -> nn.Linear:
    return nn.Linear(inputs, IDENTITIES, bias=bias)


def width(net: nn.Module) -> int:
    last = net.layer4[-1]
    return (last.bn3 if hasattr(last, "bn3") else last.bn2).num_features


def fast_reid(
    *,
    name: str = "resnet18",
    power: float | None = None,
    embedding: int = 0,
    old: bool = False,
    neck: bool = True,
    ibn: bool = False,
    epochs: bool = False,
) -> Published:
    """EmbeddingHead, or BNneckHead of the first versions, on ``backbone``."""
    net = resnet(name, ibn=ibn, unpadded=epochs)
    channels = width(net)
    layers = [nn.Conv2d(channels, embedding, 1, bias=False)] if embedding else []
    layers += [nn.BatchNorm2d(embedding or channels)] if neck else []
    bottleneck = warmed(nn.Sequential(*layers))
    last = classifier(embedding or channels)
    state = {
        "pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1),
        "pixel_std": torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1),
        **named("backbone.", net),
        **(
            named("heads.bnneck.", bottleneck[0]) if old else named("heads.bottleneck.", bottleneck)
        ),
        ("heads.classifier.weight" if old else "heads.weight"): last.weight.detach(),
    }
    pool = average
    if power is not None:
        state["heads.pool_layer.p"] = torch.tensor([power])
        pool = generalized_mean(torch.tensor(power))
    return Published(
        state=state,
        pooled=lambda images: pool(maps_of(net, images)),
        describe=lambda pooled: bottleneck(pooled[:, :, None, None])[:, :, 0, 0],
        classify=last,
        beside={"epoch": 9} if epochs else {"iteration": 100},
    )


def strong_baseline(
    *,
    name: str = "resnet18",
    power: float | None = None,
    ibn: bool = False,
    relu: bool = True,
    recorded: bool = False,
    neck: bool = True,
    identities: int = IDENTITIES,
) -> Published:
    """Its Baseline on ``base``; with a power, AGW's."""
    net = resnet(name, ibn=ibn)
    if recorded:
        record_statistics_(net, relu=relu)
    norm = warmed(nn.BatchNorm1d(width(net))) if neck else nn.Identity()
    last = nn.Linear(width(net), identities, bias=not neck)
    state = {**named("base.", net), **named("bottleneck.", norm), **named("classifier.", last)}
    pool = average
    if power is not None:
        state["global_pool.p"] = torch.tensor([power])
        pool = generalized_mean(torch.tensor(power))
    return Published(
        state=state,
        pooled=lambda images: pool(maps_of(net, images, relu=relu)),
        describe=norm,
        classify=last,
    )


def trans_reid(*, size: tuple[int, int] = (256, 128), stride: int = 16) -> Published:
    """A vision transformer on ``base``, its patches perhaps overlapping."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    grid = [(side - 16) // stride + 1 for side in size]
    positions = nn.init.normal_(torch.empty(1, grid[0] * grid[1] + 1, net.embed_dim), std=0.2)
    neck, last = warmed(nn.BatchNorm1d(net.embed_dim)), classifier(net.embed_dim)

    def class_token(images: Tensor) -> Tensor:
        patches = nn.functional.conv2d(
            images, net.patch_embed.proj.weight, net.patch_embed.proj.bias, stride=stride
        )
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([net.cls_token.expand(len(tokens), -1, -1), tokens], 1) + positions
        return net.norm(net.blocks(tokens))[:, 0]

    body = {n: t for n, t in named("base.", net).items() if n != "base.pos_embed"}
    unused = named("base.fc.", nn.Linear(net.embed_dim, 10))
    state = body | unused | {"base.pos_embed": positions}
    return Published(
        state=state | named("bottleneck.", neck) | named("classifier.", last),
        pooled=class_token,
        describe=neck,
        classify=last,
        size=size,
    )


def cluster_contrast(
    *, relu: bool = True, embedding: int = 0, power: float | None = None
) -> Published:
    """A Sequential on ``base``; without the ReLU, SpCL's."""
    net = resnet()
    stem = [net.conv1, net.bn1, *([net.relu] if relu else []), net.maxpool]
    base = nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4)
    feat = nn.Linear(512, embedding) if embedding else nn.Identity()
    norm, last = warmed(nn.BatchNorm1d(embedding or 512)), classifier(embedding or 512)
    state = named("base.", base) | named("feat.", feat) | named("feat_bn.", norm)
    pool = average
    if power is not None:
        state["gap.p"] = torch.tensor([power])
        pool = generalized_mean(torch.tensor(power))
    return Published(
        state={f"module.{n}": t for n, t in (state | named("classifier.", last)).items()},
        pooled=lambda images: pool(base(images)),
        describe=lambda pooled: norm(feat(pooled)),
        classify=last,
        beside={"epoch": 3, "best_mAP": 0.5},
    )


def torchreid(*, hidden: int = 0, ibn: bool = False) -> Published:
    """Its ResNet; with a hidden layer, the one of resnet50_fc512."""
    net = resnet(last_stride=1 if hidden else 2, ibn=ibn)
    fc = nn.Sequential()
    if hidden:
        fc = warmed(nn.Sequential(nn.Linear(512, hidden), nn.BatchNorm1d(hidden), nn.ReLU()))
    last = classifier(hidden or 512, bias=True)
    return Published(
        state=named("", net) | named("fc.", fc) | named("classifier.", last),
        pooled=lambda images: average(maps_of(net, images)),
        describe=fc,
        classify=last,
        beside={"epoch": 60, "rank1": 0.9},
    )


def svdnet(*, vectors: int = 8) -> Published:
    """SVDNet-pytorch: a linear layer without bias before the classifier."""
    net = resnet()
    fc, last = nn.Linear(512, vectors, bias=False), classifier(vectors, bias=True)
    return Published(
        state=named("", net) | named("fc.", fc) | named("classifier.", last),
        pooled=lambda images: average(maps_of(net, images)),
        describe=fc,
        classify=last,
    )


def layumi(*, linear: int = 16) -> Published:
    """Its ft_net: torchvision's network, ImageNet's classifier included, and a ClassBlock."""
    net = resnet(last_stride=2)
    block = [nn.Linear(512, linear)] if linear else []
    add_block = warmed(nn.Sequential(*block, nn.BatchNorm1d(linear or 512), nn.Dropout()))
    last = classifier(linear or 512, bias=True)
    unused = named("model.fc.", nn.Linear(512, 1000))
    return Published(
        state=named("model.", net)
        | unused
        | named("classifier.add_block.", add_block)
        | named("classifier.classifier.0.", last),
        pooled=lambda images: average(maps_of(net, images)),
        describe=add_block,
        classify=last,
    )


def ibn_net(name: str = "resnet18") -> Published:
    """IBN-Net (a), a classifier."""
    net = resnet(name, last_stride=2, ibn=True)
    last = classifier(width(net), bias=True)
    state = named("", net) | named("fc.", last)
    return Published(
        state={f"module.{n}": t for n, t in state.items()},
        pooled=lambda images: average(maps_of(net, images)),
        describe=nn.Identity(),
        classify=last,
        size=(224, 224),
    )


NETWORKS: dict[str, Callable[[], Published]] = {
    "fast-reid": fast_reid,
    "fast-reid, GeM, counting epochs": lambda: fast_reid(power=2.5, epochs=True),
    "fast-reid, shorter embedding": lambda: fast_reid(embedding=16),
    "fast-reid, first versions": lambda: fast_reid(old=True),
    "fast-reid, no neck": lambda: fast_reid(neck=False),
    "fast-reid, IBN": lambda: fast_reid(ibn=True),
    "strong baseline": strong_baseline,
    "strong baseline, no first ReLU": lambda: strong_baseline(relu=False, recorded=True),
    "strong baseline, IBN": lambda: strong_baseline(ibn=True),
    "AGW without non-local blocks": lambda: strong_baseline(power=3.5),
    "TransReID": trans_reid,
    "TransReID, overlapping patches": lambda: trans_reid(stride=12),
    "TransReID, vehicles": lambda: trans_reid(size=(256, 256)),
    "cluster-contrast": cluster_contrast,
    "cluster-contrast, GeM, shorter": lambda: cluster_contrast(embedding=16, power=3.0),
    "SpCL": lambda: cluster_contrast(relu=False),
    "torchreid": torchreid,
    "torchreid, hidden layer": lambda: torchreid(hidden=16),
    "SVDNet-pytorch": svdnet,
    "layumi": layumi,
    "layumi, batch norm alone": lambda: layumi(linear=0),
    "IBN-Net": ibn_net,
}

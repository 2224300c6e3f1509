"""Code bases for re-identification: how each is recognized and read. A new one is a new row."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.reid.fast_reid import is_fast_reid, read_fast_reid
from covtool.checkpoints.reid.network import ReidNetwork, State
from covtool.checkpoints.reid.strong_baseline import (
    is_cluster_contrast,
    is_strong_baseline,
    read_cluster_contrast,
    read_strong_baseline,
)
from covtool.checkpoints.reid.torchreid import (
    is_ibn_net,
    is_layumi,
    is_torchreid,
    read_ibn_net,
    read_layumi,
    read_torchreid,
)

_BODY_ALONE = "--arch NAME reads the body alone, and lists the rest as not used."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReidCodeBase:
    """A code base, and how its files are recognized and read.

    Attributes:
        name: Name of the code base.
        is_of: Whether tensors, and what is beside them, are of this code base.
        read: Function that reads them; None for what cannot be rebuilt.
        for_retrieval: Whether its networks describe images rather than classify them.
    """

    name: str
    is_of: Callable[[State, ForeignCheckpoint], bool]
    read: Callable[[State, ForeignCheckpoint], ReidNetwork | None]
    for_retrieval: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRebuilt:
    """Networks that are recognized and refused.

    Attributes:
        name: Name of what they are.
        sign: Text that one of their tensors' names has.
        and_sign: Text that another one has; None where one is enough.
        reason: Reason why they are not rebuilt.
        hint: Remedy.
    """

    name: str
    sign: re.Pattern[str]
    and_sign: re.Pattern[str] | None = None
    reason: str
    hint: str = _BODY_ALONE

    def is_of(self, state: State) -> bool:
        """Return whether tensors are of such a network."""
        return _found(self.sign, state) and (self.and_sign is None or _found(self.and_sign, state))


def _found(sign: re.Pattern[str], state: State) -> bool:
    return any(sign.search(name) for name in state)


# The first that fits is taken. torchreid stands before IBN-Net: its networks may have such norms.
CODE_BASES = (
    ReidCodeBase(name="fast-reid", is_of=is_fast_reid, read=read_fast_reid),
    ReidCodeBase(
        name="reid-strong-baseline (or AGW, TransReID)",
        is_of=is_strong_baseline,
        read=read_strong_baseline,
    ),
    ReidCodeBase(
        name="cluster-contrast-reid (or SpCL)",
        is_of=is_cluster_contrast,
        read=read_cluster_contrast,
    ),
    ReidCodeBase(name="Person_reID_baseline_pytorch (layumi)", is_of=is_layumi, read=read_layumi),
    ReidCodeBase(name="torchreid (or SVDNet-pytorch)", is_of=is_torchreid, read=read_torchreid),
    ReidCodeBase(name="IBN-Net", is_of=is_ibn_net, read=read_ibn_net, for_retrieval=False),
)

NOT_REBUILT = (
    NotRebuilt(
        name="OSNet (torchreid)",
        sign=re.compile(r"conv2\.0\.conv2a\."),
        reason="Neither timm nor torchvision has this architecture.",
        hint="Compute features with torchreid, and give them to covtool evaluate "
        "--distances-from FILE.",
    ),
    NotRebuilt(
        name="CLIP-ReID",
        sign=re.compile(r"^image_encoder\."),
        and_sign=re.compile(r"bottleneck_proj\.|classifier_proj\.|prompt_learner\."),
        reason="Its feature is that of two necks, one of them behind CLIP's projection.",
    ),
    NotRebuilt(
        name="TransReID with side information (SIE)",
        sign=re.compile(r"(^|\.)sie_embed$"),
        reason="Its features depend on the camera or the view of each image, which a model that "
        "is given images alone cannot know.",
        hint="Give a network that was trained without SIE_CAMERA and SIE_VIEW.",
    ),
    NotRebuilt(
        name="TransReID with local features (JPM)",
        sign=re.compile(r"^b2\.0\.attn\."),
        and_sign=re.compile(r"^bottleneck_1\."),
        reason="Its feature is put together from five branches.",
        hint="Give a network that was trained without JPM.",
    ),
    NotRebuilt(
        name="a network with non-local blocks (AGW, SBS of fast-reid)",
        sign=re.compile(r"(^|\.)NL_\d\.\d+\."),
        reason="No architecture of timm or torchvision has such blocks in it.",
    ),
    NotRebuilt(
        name="MGN",
        sign=re.compile(r"^b1\.0\.|^b1_head\.|^p1\.0\."),
        and_sign=re.compile(r"^b33?_head\.|^reduction_0\."),
        reason="Its feature is put together from the branches of several parts of the image.",
    ),
    NotRebuilt(
        name="PCB (part-based convolutional baseline)",
        sign=re.compile(r"^classifier0\.add_block\.|^conv5\.layers\."),
        reason="Its feature is put together from six stripes of the image.",
    ),
    NotRebuilt(
        name="SVDNet with branches (SVDNet-pytorch)",
        sign=re.compile(r"^layer4_1\."),
        and_sign=re.compile(r"^fc2_1\."),
        reason="Its feature is put together from three branches.",
    ),
    NotRebuilt(
        name="torchreid's ResNet of two levels (resnet50mid)",
        sign=re.compile(r"^fc_fusion\."),
        reason="Its feature is put together from two levels of the backbone.",
    ),
    NotRebuilt(
        name="IBN-Net's DenseNet",
        sign=re.compile(r"denselayer\d+\.norm1\.IN\.weight$"),
        reason="Only ResNets and ResNeXts of IBN-Net (a) are rebuilt.",
    ),
    NotRebuilt(
        name="IBN-Net (b)",
        sign=re.compile(r"layer\d\.\d+\.IN\.weight$"),
        reason="It norms sums inside its blocks, where covtool has no place to put a norm; IBN-Net "
        "(a) is rebuilt.",
        hint="Give the file of the network's variant a.",
    ),
)

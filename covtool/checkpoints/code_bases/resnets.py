"""ResNets and torchvision's other networks that code bases store under names of their own."""

from covtool.checkpoints.code_bases.code_base import CodeBase, Findings, Part, Rules
from covtool.checkpoints.code_bases.renaming import shifted

_TOLERANCE = 1e-4  # no running mean above it: none was recorded

_DETECTRON2: Rules = (
    (r"^stem\.conv1\.norm\.", "bn1."),
    (r"^stem\.conv1\.", "conv1."),
    (r"^res(\d)\.", r"layer\1."),
    (r"\.conv(\d)\.norm\.", r".bn\1."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"^linear\.", "fc."),
)
_AS_IT_IS: Rules = ((r"^(fc|classifier)\.", r"\1."),)
_BY_INDEX: Rules = (
    (r"^0\.", "conv1."),
    (r"^1\.", "bn1."),
    (r"^([4-7])\.", r"layer\1."),
    (r"^9\.", "fc."),
)


def _detectron2_says(part: Part) -> Findings:
    """Return a refusal of Caffe's bottlenecks, whose norms lack statistics, or a note on stride."""
    means = [t for name, t in part.inside.items() if name.endswith("norm.running_mean")]
    if not means or any(float(mean.abs().max()) > _TOLERANCE for mean in means):
        return Findings(
            notes=(
                "Stride is taken to be at the 3x3 convolution and images to be RGB, as in "
                "torchvision's ResNet (STRIDE_IN_1X1: False): the tensors do not show it.",
            )
        )
    # Only blocks with a third convolution have a 1x1 convolution in front to put the stride at.
    if any(".conv3." in name for name in part.inside):
        return Findings(
            refusal="Its batch norms hold no statistics, as in the ResNets of MSRA that Detectron2 "
            "starts from: their stride is at the first 1x1 convolution of a block, which neither "
            "timm nor torchvision builds, and they take blue before green before red.",
        )
    return Findings()


def _fastai_says(part: Part) -> Findings:
    """Leave out fastai's head: both poolings, two linear layers, norms between."""
    linear = [n for n, t in part.beside.items() if n.endswith(".weight") and t.dim() == 2]
    # A learner of fastai is a Sequential of body (0) and head (1).
    if len(linear) < 2 or not all(name.startswith("1.") for name in part.beside):
        return Findings()
    return Findings(
        unused=tuple(part.beside),
        notes=(
            f"The head is not used: {len(linear)} linear layers behind average and maximum, as "
            "fastai's learners have them, are no classifier of timm's.",
        ),
    )


ROWS = (
    CodeBase(
        name="detectron2",
        summary="Detectron2's ResNet backbones",
        source="facebookresearch/detectron2",
        signs=(r"stem\.conv1\.weight$", r"res2\.0\.conv1\.weight$", r"res3\.0\.shortcut\.weight$"),
        rules=_DETECTRON2,
        beside=(
            (r"^roi_heads\.res5\.", "layer5."),  # which the step below makes the fourth
            *((p, r) for p, r in _DETECTRON2 if p.startswith(r"\.")),
        ),
        steps=(shifted(r"^layer(?P<n>\d)\.(?=\d+\.(?:conv|bn|down))", "layer{n}.", -1),),
        says=_detectron2_says,
    ),
    CodeBase(
        name="vissl",
        summary="VISSL's trunks",
        source="facebookresearch/vissl",
        signs=(r"_feature_blocks\.",),
        rules=((r"^_feature_blocks\.", ""),),
        beside=_AS_IT_IS,
    ),
    CodeBase(
        name="resnet-by-index",
        summary="the children of a ResNet in an nn.Sequential (fastai, lightly)",
        source="fastai/fastai, lightly-ai/lightly",
        signs=(
            r"4\.0\.conv1\.weight$",
            r"7\.0\.conv1\.weight$",
            r"0\.weight$",
            r"1\.running_mean$",
        ),
        rules=_BY_INDEX,
        steps=(shifted(r"^layer(?P<n>\d)\.", "layer{n}.", -3),),
        says=_fastai_says,
    ),
    CodeBase(
        name="densenet-features",
        summary="the features of torchvision's DenseNet without their name (fastai, lightly)",
        source="fastai/fastai, lightly-ai/lightly",
        # With `features.` before them, the names are torchvision's own.
        signs=(
            r"(?<!features\.)denseblock1\.denselayer1\.norm1\.weight$",
            r"(?<!features\.)norm5\.weight$",
        ),
        rules=((r"^(?!features\.)", "features."),),
        beside=_AS_IT_IS,
        says=_fastai_says,
    ),
    CodeBase(
        name="features-by-index",
        summary="torchvision's `features` as the first of an nn.Sequential (fastai, lightly)",
        source="fastai/fastai, lightly-ai/lightly",
        signs=(
            r"0\.0\.0\.weight$",
            r"0\.0\.1\.running_mean$",
            r"0\.1\.(?:conv\.0\.0|0\.block\.0\.0|block\.0\.0)\.weight$",
        ),
        rules=((r"^0\.", "features."),),
        beside=_AS_IT_IS,
        says=_fastai_says,
    ),
    CodeBase(
        name="densenet-dotted",
        summary="torchvision's DenseNet before version 0.2 (norm.1)",
        source="pytorch/vision",
        signs=(r"features\.denseblock1\.denselayer1\.norm\.1\.weight$",),
        rules=((r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2."),),
    ),
)

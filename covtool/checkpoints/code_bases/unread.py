"""Kinds of files that no row of the table reads, called by name in the refusal."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from covtool.checkpoints.code_bases.reading import recognized_by_signs


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRead:
    """A kind of file that covtool does not read.

    Attributes:
        what: A noun phrase, as it follows "The names are those of".
        signs: Regular expressions; all must be found.
    """

    what: str
    signs: tuple[str, ...]


# The first that fits is named: single networks stand before the library that they are of.
NOT_READ = (
    NotRead(
        what="an IBN-Net (instance and batch norm)", signs=(r"layer\d\.\d+\.(?:bn1\.)?IN\.weight$",)
    ),
    NotRead(
        what="a YOLO of ultralytics",
        signs=(r"model\.\d+\.(?:conv|cv1\.conv|m\.0\.)", r"model\.2\."),
    ),
    NotRead(what="Detectron2's FPN detectors", signs=(r"fpn_lateral\d",)),
    NotRead(
        what="a detector of MMDetection", signs=(r"^(?:.*\.)?(?:bbox_head|rpn_head|roi_head)\.",)
    ),
    NotRead(what="a detector of torchvision", signs=(r"(?:^|\.)roi_heads\.|(?:^|\.)rpn\.head\.",)),
    NotRead(what="a DETR", signs=(r"query_embed\.weight$|query_position_embeddings", r"bbox")),
    NotRead(what="a segmentation network of MMSegmentation", signs=(r"(?:^|\.)decode_head\.",)),
    NotRead(what="a SegFormer", signs=(r"segformer\.encoder\.",)),
    NotRead(what="Segment Anything", signs=(r"mask_decoder\.", r"prompt_encoder\.")),
    NotRead(
        what="a diffusion model",
        signs=(r"model\.diffusion_model\.|(?:^|\.)down_blocks\.\d|(?:^|\.)time_embed\.",),
    ),
    NotRead(what="adapters (LoRA) without the network they belong to", signs=(r"lora_[AB]\.",)),
    NotRead(
        what="a language model",
        signs=(r"word_embeddings\.weight$|embed_tokens\.weight$|(?:^|\.)wte\.weight$",),
    ),
    NotRead(
        what="a speech model", signs=(r"feature_extractor\.conv_layers\.|encoder\.conv1\.bias$",)
    ),
    NotRead(
        what="Keras and TensorFlow",
        signs=(r"(?:kernel|gamma):0$|(?:^|[/._])moving_(?:mean|variance)|/gamma$",),
    ),
    NotRead(what="JAX and Flax", signs=(r"(?:[/.]|^)kernel$", r"(?:[/.]|^)(?:scale|bias)$")),
    NotRead(what="PaddlePaddle", signs=(r"\._mean$", r"\._variance$")),
    NotRead(what="a MobileViT of transformers", signs=(r"conv_1x1_exp\.convolution\.weight$",)),
    NotRead(what="a LeViT of transformers", signs=(r"embedding_layer_1\.convolution\.weight$",)),
    NotRead(
        what="a network of transformers",
        signs=(r"embeddings\.patch_embeddings?\.|(?:embedder|convolution)\.weight$", r"encoder\."),
    ),
    NotRead(
        what="a network of MMPretrain",
        signs=(r"^(?:.*\.)?backbone\..*\.conv\.weight$", r"head\.fc\."),
    ),
    NotRead(what="a segmentation network", signs=(r"aux_classifier\.|(?:^|\.)decoder\.blocks\.",)),
)


def named_code_base(names: Iterable[str]) -> str | None:
    """Return whose names they are, as a noun phrase for the refusal; None where nothing shows it.

    Example:
        >>> named_code_base(["backbone.fpn_lateral2.weight"])
        "Detectron2's FPN detectors"
        >>> named_code_base(["layer1.0.conv1.weight"])
    """
    names = list(names)
    for row in NOT_READ:
        if all(any(map(re.compile(sign).search, names)) for sign in row.signs):
            return row.what
    # Last of all: names that are read, on shapes that fit no architecture.
    read = recognized_by_signs(names)
    return read.summary if read else None

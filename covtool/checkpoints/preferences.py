"""The order of architectures that a checkpoint fits equally well."""

import re
from typing import Any

from covtool.backbones.names import TORCHVISION_PREFIX
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.matching import Candidate

# lukemelas/EfficientNet-PyTorch and what was made from it name their layers like this. They are
# ports of TensorFlow's weights and pad like TensorFlow, which timm does in its tf_ models only.
_PORTED_FROM_TENSORFLOW = re.compile(r"_conv_stem\.|_blocks\.\d+\._depthwise_conv\.")


def preference(
    candidate: Candidate, checkpoint: ForeignCheckpoint, prefers: str | None = None
) -> tuple[Any, ...]:
    """Return what sorts equal candidates: the most plausible one first.

    Args:
        candidate: One of them.
        checkpoint: Checkpoint that they fit; its own statements come first.
        prefers: Regular expression over the names that a code base implies.
    """
    library, name = candidate.architecture.library, candidate.architecture.name
    words = _words(checkpoint.path.stem)
    named = [
        n.removeprefix(TORCHVISION_PREFIX).partition(".")[0]
        for n in checkpoint.statements.architectures
    ]
    implied = prefers is not None and re.search(prefers, name) is not None
    ported = name.startswith("tf_") and any(map(_PORTED_FROM_TENSORFLOW.match, checkpoint.state))
    common, others = _words(name) & words, _words(name) - words
    return (
        # What the file says beats what its code base implies, and that the words of its name.
        named.index(name) if name in named else len(named),
        not implied,
        not ported,
        not ("torchvision" in words and library == "torchvision"),
        # An architecture all of whose words are in the file's name is likelier than one in part.
        -len(common) if not others else 0,
        -len(common),
        len(others),
        library != "timm",
        # The plainest of what is left, and no tie: the answer is the same on every machine.
        len(name),
        name,
    )


def _words(text: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", text.lower())) - {""}

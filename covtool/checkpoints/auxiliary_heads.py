"""The auxiliary heads of Inception v3 and GoogLeNet in a checkpoint: known, and left out."""

from dataclasses import replace

from covtool.backbones.auxiliary import (
    ARGUMENT,
    has_auxiliary,
    is_auxiliary,
    is_published,
    transforms_input,
)
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.identification import Identification
from covtool.specs import BaseSpec

LEFT_OUT = (
    "The auxiliary heads are left out: only training from scratch uses them, evaluation never does."
)
_HALF = "--mean 0.5 --std 0.5"


def leave_out_auxiliary(
    identification: Identification,
) -> tuple[Identification, tuple[str, ...]]:
    """Return what was recognized, to be built without auxiliary heads; and a note on that.

    Their tensors become unused ones of the file.
    """
    best = identification.best
    known = best.architecture
    base = BaseSpec(library=known.library, name=known.name, arguments=dict(known.arguments))
    if not has_auxiliary(base):
        return identification, ()
    checkpoint = identification.checkpoint
    renamed = [own for own, known in best.renames if is_auxiliary(known)]
    # A file under the architecture's names has no renames.
    own = renamed or [name for name in checkpoint.state if is_auxiliary(name)]
    left = tuple(checkpoint.prefix + name for name in own)
    architecture = replace(
        best.architecture,
        classifiers=tuple(c for c in best.architecture.classifiers if not is_auxiliary(c)),
        arguments={**best.architecture.arguments, ARGUMENT: False},
    )
    renames = tuple((own, known) for own, known in best.renames if not is_auxiliary(known))
    unused = (*best.unused, *left)
    best = replace(best, architecture=architecture, renames=renames, unused=unused)
    # Without a list of its own, all that is outside the prefix is unused, which a list has to name.
    outside = tuple(n for n in checkpoint.tensors if not n.startswith(checkpoint.prefix))
    checkpoint = checkpoint.using(checkpoint.prefix, (*(checkpoint.unused or outside), *left))
    candidates = (best, *identification.candidates[1:])
    return replace(identification, checkpoint=checkpoint, candidates=candidates), (LEFT_OUT,)


def input_arguments(base: BaseSpec, checkpoint: ForeignCheckpoint) -> tuple[BaseSpec, str | None]:
    """Return the architecture as it has to take its images, and a note where that is unknown."""
    if not transforms_input(base):
        return base, None
    if is_published(base, checkpoint.path):
        arguments = {**base.arguments, "transform_input": True}
        return base.model_copy(update={"arguments": arguments}), None
    return base, (
        f"torchvision's own weights of {base.name} take images with a mean and a deviation of 0.5; "
        f"if this file was trained from them, add {_HALF}."
    )

"""The model in a file or a run of covtool's own, alone: `open_model` says where it comes from."""

from pathlib import Path

from torch import nn

from covtool.checkpoints import model_file
from covtool.checkpoints.foreign import read_checkpoint
from covtool.checkpoints.own_runs import model_of_state
from covtool.checkpoints.places import is_folder, is_there, missing_file, no_file
from covtool.checkpoints.run_models import find_in_run
from covtool.errors import CheckpointError


def load(source: str | Path) -> nn.Module:
    """Return a model that covtool wrote, in eval mode on the CPU.

    Beside its weights it has ``.recipe``, ``.transform`` (an image to a tensor, as evaluation
    prepares it), ``.class_names`` and ``.pretrained_cfg``.

    Args:
        source: A covtool file; a run's folder, for its best exported model, or with ``@last``,
            ``@best`` or ``@epoch-3`` behind it; a state in a run's ``checkpoints/``.

    Raises:
        CheckpointError: It is none of these, its tensors do not fit its recipe, or they are not
            those that were written.
    """
    in_run, _ = find_in_run(source)
    path = in_run or Path(source)
    if not is_there(path):
        raise missing_file(path)
    if is_folder(path):
        raise no_file(path)
    if model_file.is_covtool_file(path):
        return model_file.load(path)
    checkpoint = read_checkpoint(path)
    if checkpoint.saved is None:
        raise CheckpointError(
            f"{path} has no covtool recipe in it.",
            reason="covtool.load takes what covtool wrote.",
            hint=f"covtool.open_model({str(path)!r}).model opens files of other programs.",
        )
    return model_of_state(checkpoint).model

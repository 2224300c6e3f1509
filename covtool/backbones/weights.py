"""Tensors by name into a model, without what torch writes beside them."""

from collections.abc import Mapping

from torch import Tensor, nn


def load_tensors_(model: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Copy tensors into a model: all of its own, and no others.

    `torch.save` keeps the version of each module beside a state dict; safetensors, a plain dict
    and renamed tensors have lost it, and torchvision's MNASNet takes no tensors without. Their
    shapes have been compared with the model's by then, so they are of its own versions.

    Args:
        model: Model, which is changed.
        tensors: State dict of the model.
        assign: Put the tensors themselves in place of its own, which may be on the meta device.

    Raises:
        RuntimeError: Names or shapes are not the model's.
    """
    own = model.state_dict()
    # load_state_dict reads the version of each module from there.
    metadata = own._metadata
    own.clear()
    own.update(tensors)
    own._metadata = metadata
    model.load_state_dict(own, assign=assign)

"""Layers between pooling and classifier, read from their tensors."""

from collections.abc import Mapping

from torch import Tensor

from covtool.checkpoints.reid.network import Neck

_OF_A_NORM = ("running_mean", "running_var", "num_batches_tracked")


def read_neck(*parts: Mapping[str, Tensor], relu: bool = False) -> Neck | None:
    """Return the neck that some modules make, one after the other.

    Args:
        parts: The tensors of each module: ``weight``, ``bias``, ``running_mean``, ...
        relu: Whether a ReLU follows.

    Returns:
        None where the modules are others than one linear layer (or 1x1 convolution) and one batch
        norm, in this order.
    """
    layers: list[str] = []
    tensors: dict[str, Tensor] = {}
    for part in parts:
        weight = part.get("weight")
        if weight is None:
            return None
        if weight.ndim == 1 and "running_mean" in part:
            layers.append("batchnorm")
            tensors |= {f"bn.{name}": tensor for name, tensor in part.items()}
        # A convolution of 1x1 on pooled maps is a linear layer.
        elif weight.ndim in (2, 4) and weight[0, 0].numel() == 1:
            layers.append("linear" if "bias" in part else "linear-without-bias")
            tensors |= {f"linear.{n}": t.flatten(1) if t.ndim > 1 else t for n, t in part.items()}
        else:
            return None
    kinds = [layer.partition("-")[0] for layer in layers]
    if kinds not in (["batchnorm"], ["linear"], ["linear", "batchnorm"]):
        return None
    return Neck(layers=(*layers, *(["relu"] if relu else [])), tensors=_complete(tensors))


def numbered(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the tensors of each numbered module of a Sequential, in order."""
    modules: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        number, _, leaf = name.partition(".")
        if number.isdecimal():
            modules.setdefault(int(number), {})[leaf] = tensor
    # Layers without tensors (ReLU, dropout) leave gaps between the numbers.
    return [modules[number] for number in sorted(modules)]


def _complete(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the shift of 0 to a batch norm that was saved without one."""
    if "bn.weight" in tensors and "bn.bias" not in tensors:
        return {**tensors, "bn.bias": tensors["bn.weight"].new_zeros(len(tensors["bn.weight"]))}
    return tensors

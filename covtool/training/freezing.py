"""Which parameters are trained, and what mode the modules around them are in."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.backbones.selecting import fits, near
from covtool.errors import ArgumentError
from covtool.specs.training import BACKBONE
from covtool.training.head import Head


def trainable_names(model: nn.Module, head: Head, freeze: Sequence[str]) -> frozenset[str]:
    """Names of the parameters that are trained at some time.

    Args:
        model: Parameters that do not require a gradient stay like that.
        head: What ``backbone`` leaves out.
        freeze: ``backbone``, or names of parameters or modules with wildcards.

    Raises:
        ArgumentError: A pattern fits no parameter, or nothing is left to train.
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    frozen: set[str] = set()
    for pattern in freeze:
        fitting = {name for name in names if _fits(name, pattern, head)}
        if not fitting:
            raise _fits_nothing(pattern, names)
        frozen |= fitting
    if frozen >= set(names):
        raise ArgumentError(
            "--freeze leaves nothing to train.", hint="--freeze backbone leaves the head."
        )
    return frozenset(names) - frozen


def set_trainable_(model: nn.Module, names: frozenset[str]) -> None:
    """Let exactly these parameters require a gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def set_train_mode_(model: nn.Module) -> None:
    """Train mode, but eval mode for modules that are frozen as a whole.

    A frozen batch normalization keeps its statistics, frozen dropout does nothing.
    """
    parameters = list(model.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        model.eval()
        return
    model.training = True
    for child in model.children():
        set_train_mode_(child)


def keep_batch_statistics_(model: nn.Module, head: Head) -> None:
    """Let the batch norms of the backbone use their statistics, and leave them as they are.

    Their scales and biases are trained. Those of the head are new and keep their mode.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not head.holds(name):
            module.eval()


def _fits(name: str, pattern: str, head: Head) -> bool:
    return not head.holds(name) if pattern == BACKBONE else fits(name, pattern)


def _fits_nothing(pattern: str, names: Sequence[str]) -> ArgumentError:
    close = near(pattern, sorted({name.rpartition(".")[0] for name in names}))
    return ArgumentError(
        f"--freeze {pattern!r} fits no parameter.",
        hint=f"Give 'backbone', or names like {close}; * stands for anything.",
    )

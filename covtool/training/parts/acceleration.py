"""Speed, memory and several devices: TF32, gradient checkpointing, synchronized batch norms."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from covtool.errors import ArgumentError
from covtool.layers.decoupled_conv import DecoupledConv2d
from covtool.layers.synchronized_batch_norm import SynchronizedBatchNorm
from covtool.specs import TrainingSpec
from covtool.specs.training import CUDA_GRAPHS

_KNOWN_NORMS = (_BatchNorm.forward, BatchNormAct2d.forward, SyncBatchNorm.forward)


@contextmanager
def tf32(allowed: bool | None) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products and convolutions; as it was afterwards.

    TF32 keeps 10 of 23 bits of each factor and is several times as fast on Ampere and later; it
    changes nothing on other devices.

    Args:
        allowed: Whether TF32 is allowed; None leaves torch's settings alone.
    """
    if allowed is None:
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _set("high" if allowed else "highest", allowed)
    try:
        yield
    finally:
        _set(*before)


def _set(matmul: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn


def checkpoint_gradients_(model: nn.Module, name: str) -> None:
    """Let a timm model keep the activations at the borders of its blocks only.

    Args:
        model: Model to be trained; computes the other activations twice.
        name: Name of the model in an error.

    Raises:
        ArgumentError: The model cannot.
    """
    enable = getattr(model, "set_grad_checkpointing", None)
    try:
        if enable is not None:
            enable(True)
            return
    except AssertionError:  # how timm's models say that they cannot
        pass
    raise ArgumentError(
        f"{name} does not support --grad-checkpointing.",
        reason="timm offers it for most of its models; torchvision has none.",
        hint="Leave it out; a smaller --batch-size with --grad-accum-steps saves memory as well.",
    )


def loss_scaler(device: torch.device, training: TrainingSpec) -> torch.amp.GradScaler:
    """Return the scaler of the loss, which does something for float16 alone."""
    # bfloat16 has the exponents of float32: its gradients do not underflow.
    enabled = training.amp and training.amp_dtype == "float16"
    return torch.amp.GradScaler(device.type, enabled=enabled)


def require_graphs(device: torch.device, training: TrainingSpec) -> None:
    """Refuse a mode of `torch.compile` that records CUDA graphs where there are none.

    Raises:
        ArgumentError: The device is another one.
    """
    mode = training.torchcompile_mode
    if mode in CUDA_GRAPHS and device.type != "cuda":
        raise ArgumentError(
            f"--torchcompile-mode {mode} records CUDA graphs, and the device is {device}.",
            hint="Leave the mode out, or train with --device cuda.",
        )


def require_recomputable(model: nn.Module, training: TrainingSpec) -> None:
    """Refuse to compile what is computed again and depends on how often it was.

    torch compiles the second computation as well, in which ρ follows the batch once more: its
    gradients would be those of another function.

    Raises:
        ArgumentError: The model has operators whose ρ is measured in a running mean, and is to be
            compiled and computed again.
    """
    follow = (m for m in model.modules() if isinstance(m, DecoupledConv2d) and m.follows_batches)
    if training.grad_checkpointing and training.torchcompile and any(follow):
        raise ArgumentError(
            "--grad-checkpointing and --torchcompile do not go together with decoupled "
            "convolutions whose ρ is measured in a running mean.",
            reason="Compiled code that is computed again would count each batch twice.",
            hint="Leave out one of the two, or convert with --unit none.",
        )


@contextmanager
def recomputing(model: nn.Module, training: TrainingSpec) -> Iterator[None]:
    """Keep the buffers of a model as they are during a backward pass with checkpointing.

    Batch norms and operators with running means would otherwise count a batch twice, the second
    time when their activations are computed again; and operators, which compute with their running
    mean, would then have another one. Without gradient checkpointing it does nothing. Between a
    forward pass and its backward pass there may be no other one: ρ would be that of the last.
    """
    # Those in eval mode leave their buffers as they are anyway.
    modules = [m for m in model.modules() if m.training] if training.grad_checkpointing else []
    buffers = [buffer for module in modules for buffer in module.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    operators = [m for m in modules if isinstance(m, DecoupledConv2d) and m.buffers_move]
    for operator in operators:
        operator.buffers_move = False
    try:
        yield
    finally:
        for operator in operators:
            operator.buffers_move = True
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def synchronize_batch_norms_(model: nn.Module, device: torch.device) -> nn.Module:
    """Let every batch norm use the statistics of all processes; names of weights stay.

    Args:
        model: Model whose batch norms are replaced.
        device: Device of the model; on CUDA torch's own kernels are used.

    Raises:
        ArgumentError: A batch norm does something of its own.
    """
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for name, norm in norms.items():
        # The replacements know these forward passes: what another one does would be lost.
        if type(norm).forward not in _KNOWN_NORMS:
            raise ArgumentError(
                f"{name!r} does not support --sync-bn: {type(norm).__name__} is a batch norm of "
                "its own kind."
            )
    if device.type == "cuda":
        return convert_sync_batchnorm(model)  # timm's knows batch norms with an activation
    # The class alone: parameters, buffers and hooks stay the very same objects.
    for norm in norms.values():
        norm.__class__ = SynchronizedBatchNorm
    return model

"""The network as one of several processes trains it."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from covtool.backbones.module_modes import in_eval_mode
from covtool.layers.synchronized_batch_norm import SynchronizedBatchNorm
from covtool.processes import Processes
from covtool.specs import InputSpec
from covtool.specs.training import CUDA_GRAPHS

SYNCHRONIZED = (SyncBatchNorm, SynchronizedBatchNorm)  # have the same statistics anyway
PROBED = 2  # black images: enough for every layer in eval mode


class Replica:
    """The network of a process that trains alone.

    Args:
        network: Network whose parameters are trained.
        compiled: Whether to compile it.
        mode: Mode of `torch.compile`; None for its own.

    Attributes:
        exchanges: Whether a backward pass is under way that the others take part in, so that it
            cannot be tried again.
    """

    exchanges = False

    def __init__(self, network: nn.Module, *, compiled: bool, mode: str | None = None) -> None:
        self.network = network
        self._compiled, self._mode = compiled, mode
        self._forward = self._compile(network)

    def __call__(self, images: Tensor) -> Any:
        """Return what the network returns."""
        if self._compiled and self._mode in CUDA_GRAPHS:
            # What the last pass returned may be written over: its loss has been copied.
            torch.compiler.cudagraph_mark_step_begin()
        return self._forward(images)

    def _compile(self, network: nn.Module) -> Any:
        """Return the network, compiled where that is asked for."""
        if not self._compiled:
            return network
        return torch.compile(network, **({} if self._mode is None else {"mode": self._mode}))

    def renew_(self) -> None:
        """Note which parameters require a gradient now; to be called between two updates."""

    def accumulating(self) -> AbstractContextManager[None]:
        """Enter passes forward and backward whose gradients are only added up, in this process."""
        return nullcontext()

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Enter the backward pass after which `.grad` holds the mean over all processes."""
        yield

    def abandon_(self) -> None:
        """Forget a forward pass that no backward pass follows, and the gradients that there are."""

    def average_statistics_(self) -> None:
        """Give the running statistics of all processes their mean, after an update."""


def make_replica(
    network: nn.Module,
    processes: Processes,
    images: InputSpec,
    *,
    compiled: bool,
    mode: str | None = None,
) -> "Replica":
    """Return the network as one of some processes trains it.

    Args:
        network: Network whose parameters are trained.
        processes: Processes that train it.
        images: Images that it takes.
        compiled: Whether to compile it.
        mode: Mode of `torch.compile`; None for its own.
    """
    if processes.world == 1:
        return Replica(network, compiled=compiled, mode=mode)
    return DistributedReplica(network, processes, images, compiled=compiled, mode=mode)


class DistributedReplica(Replica):
    """The network of one of several processes, which keep their weights equal.

    `DistributedDataParallel` averages gradients in buckets while the backward pass is under way.
    """

    def __init__(
        self,
        network: nn.Module,
        processes: Processes,
        images: InputSpec,
        *,
        compiled: bool,
        mode: str | None = None,
    ) -> None:
        super().__init__(network, compiled=False, mode=mode)
        self._compiled = compiled
        self._processes = processes
        self._shape = (PROBED, images.channels, *images.size)
        self._trained: frozenset[str] = frozenset()

    def renew_(self) -> None:
        names = {n for n, p in self.network.named_parameters() if p.requires_grad}
        if names == self._trained:  # the same buckets: laid out anew, they would change the sums
            return
        self._trained = frozenset(names)
        self._forward = self._ddp = None  # it lets go of the parameters
        unused = self._probe(self.network)
        parameter = next(self.network.parameters())
        self._ddp = DistributedDataParallel(
            self.network,
            device_ids=[parameter.device] if parameter.is_cuda else None,
            find_unused_parameters=bool(unused),
            gradient_as_bucket_view=True,
        )
        if not unused:
            # After the first pass buckets are laid out anew, and a sum over more than two processes
            # depends on the layout in its last bits: a resumed run must have the same at once.
            self._probe(self._ddp)
        self._forward = self._compile(self._ddp)

    def accumulating(self) -> AbstractContextManager[None]:
        return self._ddp.no_sync()  # one exchange per update, not one per micro-batch

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        self.exchanges = True
        yield
        self.exchanges = False  # not where it failed

    def abandon_(self) -> None:
        self._probe(self._ddp)  # one that is finished: the reducer would wait for the other

    def average_statistics_(self) -> None:
        self._processes.average_(
            [
                buffer
                for module in self.network.modules()
                if module.training and not isinstance(module, SYNCHRONIZED)
                for name, buffer in module.named_buffers(recurse=False)
                if name.startswith("running_") or name in getattr(module, "moving_buffers", ())
            ]
        )

    def _probe(self, network: nn.Module) -> list[str]:
        """Pass a few images forward and backward; return the parameters that had no part in it."""
        parameter = next(network.parameters())
        with in_eval_mode(network), torch.enable_grad(), warnings.catch_warnings():
            # Weights with axes of size 1, whose strides say nothing; once per process.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            outputs = network(torch.zeros(self._shape).to(parameter))
            sum(o.sum() for o in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()
        trained = [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]
        unused = [name for name, p in trained if p.grad is None]
        # Gradients of black images: no update may start from them.
        for _, p in trained:
            p.grad = None
        return unused

"""The embeddings of a batch that several processes share, for losses that compare images."""

import torch
from torch import Tensor

from covtool.processes import Processes


def gathered(embeddings: Tensor, labels: Tensor, processes: Processes) -> tuple[Tensor, Tensor]:
    """Embeddings and labels of all processes, so that the loss is that of the whole batch.

    All processes compute the same loss, and each has the gradient by its own embeddings alone, so
    that nothing is exchanged on the way back. That gradient is enlarged so that the mean over the
    processes is the gradient of the loss, where each has weighted its loss by its share of the
    images times the number of processes, as for a mean over all images.

    Args:
        embeddings: Of this process, shape (B, D).
        labels: Shape (B,).
        processes: Who shares the batch. Processes may differ in B.
    """
    if processes.world == 1:
        return embeddings, labels
    parts = processes.tensors(embeddings)
    own = embeddings.view_as(embeddings)
    if own.requires_grad:
        images = sum(len(part) for part in parts)
        own.register_hook(lambda gradient: gradient * (images / len(own)))
    parts[processes.rank] = own
    return torch.cat(parts), torch.cat(processes.tensors(labels))

"""k-reciprocal neighbors: images that are among each other's nearest.

An image is its own nearest neighbor, and counts as one: k neighbors are k + 1 images, as in the
code of the paper, from which the published figures come.

Source:
    Zhong, Zheng, Cao, Li. "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
    2017, equations 2 to 4.
"""

import torch
from torch import Tensor


def reciprocal(neighbors: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return which of the first neighbors of some images have them among their own first, R.

    Args:
        neighbors: Nearest images of each of N images, itself first, shape (N, K).
        rows: Images, shape (B,).
        count: Number of neighbors, k + 1, at most K.

    Returns:
        Shape (B, count), bool.

    Example:
        >>> neighbors = torch.tensor([[0, 1], [1, 2], [2, 1]])
        >>> reciprocal(neighbors, torch.tensor([0, 1]), 2).tolist()
        [[True, False], [True, True]]
    """
    # An image is reciprocal if it is among the first neighbors of its own neighbor.
    theirs = neighbors[neighbors[rows, :count], :count]
    return (theirs == rows[:, None, None]).any(-1)


def expanded(
    neighbors: Tensor, near: Tensor, nearer: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the k-reciprocal neighbors of some images, and most of what these have in common, R*.

    To R(p, k) the set R(q, k/2) of each of its members q is added if more than two thirds of it are
    in R(p, k) already. (The paper writes "at least", its code "more than".)

    Args:
        neighbors: Nearest images of each of N images, itself first, shape (N, K).
        near: Whether the first neighbors are reciprocal, for all images, shape (N, k + 1).
        nearer: The same for about half of k, shape (N, h).
        rows: Images p, shape (B,).

    Returns:
        Pairs: places in `rows` and images in N, shape (n,) each, in ascending order.
    """
    own, is_own = neighbors[rows, : near.shape[1]], near[rows]
    theirs, is_theirs = neighbors[own, : nearer.shape[1]], nearer[own]
    # -1 stands for no neighbor: it equals none of theirs.
    shared = (theirs[..., None] == own.masked_fill(~is_own, -1)[:, None, None, :]).any(-1)
    shared_count, count = (shared & is_theirs).sum(-1), is_theirs.sum(-1)
    # More than two thirds, in whole numbers: no rounding decides.
    taken = is_own & (3 * shared_count > 2 * count)
    is_theirs = is_theirs & taken[..., None]
    absent = len(neighbors)
    members = torch.cat(
        [
            own.masked_fill(~is_own, absent),
            theirs.masked_fill(~is_theirs, absent).flatten(1),
        ],
        dim=1,
    )
    # Sorted, duplicates stand side by side: each image is kept where it is first.
    members = members.sort(dim=1).values
    new = members < absent
    new[:, 1:] &= members[:, 1:] != members[:, :-1]
    places = new.nonzero()[:, 0]
    return places, members[new]

"""torchvision's compiled operators, which need the very torch that they were built for."""

import torch
from torchvision import ops


def require_operators() -> None:
    """Call one of torchvision's compiled operators.

    Raises:
        RuntimeError: It does not exist, or is wrong.
    """
    # The second lies almost wholly in the first: it must go.
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    if kept.tolist() != [0, 2]:
        raise RuntimeError(f"torchvision.ops.nms keeps {kept.tolist()} rather than [0, 2]")

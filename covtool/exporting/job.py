"""An export under way: the program to build, and the model that it is compared with."""

from dataclasses import dataclass

from torch import Tensor, nn

from covtool.exporting.records import ExportRequest, Interface, RootReplacement
from covtool.exporting.samples import Images
from covtool.specs import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a format needs to build a program.

    Attributes:
        request: The export.
        module: Model with its preparation, in its precision; in eval mode, without gradients.
        interface: Its input and output.
        calibration: Images that set the ranges of int8; None in other precisions.
    """

    request: ExportRequest
    module: nn.Module
    interface: Interface
    calibration: Images | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The model that a program must answer like.

    Attributes:
        model: The model in torch, in float32, with the iterations that stand for a solver.
        recipe: Its recipe.
        images: Images to compare on.
        expected: Its logits of them, (N, K).
        root: Iterations in the place of a solver; None without.
    """

    model: nn.Module
    recipe: Recipe
    images: Images
    expected: Tensor
    root: RootReplacement | None = None

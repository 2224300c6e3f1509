"""The Eigenlayer of SVDNet: a linear layer without bias in front of the classifier."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from covtool.ops.decorrelation import (
    correlation,
    decorrelate,
    fold_classifier,
    match_rows,
    smallest_eigenvalue_ratio,
)


class Eigenlayer(nn.Linear):
    """Projects pooled features on k weight vectors; its output is the embedding.

    Args:
        in_features: Length of the pooled vector.
        out_features: k; not more than `in_features`.

    Shape:
        (B, in_features) -> (B, k)

    Source:
        Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    @property
    def correlation(self) -> float:
        """S(W), between 1/k and 1 for orthogonal weight vectors."""
        return float(correlation(self.weight))

    @property
    def smallest_eigenvalue_ratio(self) -> float:
        """The smallest eigenvalue of the Gram matrix over its smallest diagonal element."""
        return float(smallest_eigenvalue_ratio(self.weight))

    @property
    def spectrum(self) -> tuple[float, ...]:
        """The singular values of the weight, k of them, in descending order."""
        return tuple(torch.linalg.svdvals(self.weight.detach().cpu().double()).tolist())


class EigenClassifier(nn.Sequential):
    """Eigenlayer and classifier, in the place of a classifier.

    Args:
        eigenlayer: Layer from pooled features to embeddings.
        classifier: Layer from embeddings to logits.
    """

    eigenlayer: Eigenlayer
    classifier: nn.Linear

    def __init__(self, eigenlayer: Eigenlayer, classifier: nn.Linear) -> None:
        super().__init__(OrderedDict(eigenlayer=eigenlayer, classifier=classifier))

    @torch.no_grad()
    def decorrelate_(
        self,
        *,
        decomposition: str = "us",
        reorder: bool = True,
        optimal: bool = False,
        fold: bool = True,
    ) -> Tensor:
        """Make the weight vectors orthogonal, W <- US.

        Args:
            decomposition: A name in `covtool.ops.decorrelation.DECOMPOSITIONS`.
            reorder: Whether the new vectors get the order and sign of the old ones.
            optimal: Whether `reorder` takes the best assignment in place of the published one.
            fold: Whether the classifier turns with them, C <- CV, which keeps every logit; else its
                weights stay, and refer to other axes.

        Returns:
            The old weight, (k, in_features).
        """
        # A copy: the weight is overwritten below.
        old = self.eigenlayer.weight.clone()
        new = decorrelate(old, decomposition=decomposition)
        if reorder:
            new = match_rows(new, old, optimal=optimal)
        # Before the weight changes: the rotation follows from the old one and the new one.
        if fold:
            self.classifier.weight.copy_(fold_classifier(self.classifier.weight, old, new))
        self.eigenlayer.weight.copy_(new)
        return old

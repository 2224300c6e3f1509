"""What a model's classifier is fed, beside its logits."""

from typing import NamedTuple

from torch import Tensor, nn


class Described(NamedTuple):
    """What a forward pass gives where a loss compares embeddings.

    Attributes:
        logits: Shape (B, K).
        embeddings: What the classifier was fed, shape (B, D).
    """

    logits: Tensor
    embeddings: Tensor


class WithEmbeddings(nn.Module):
    """A model whose forward pass returns its logits and what its classifier is fed.

    The embeddings are the input of the linear classifier: pooled, vectorized, and whatever the
    model does after that, dropout included. They are taken on the way, so this can be compiled,
    and wrapped for several processes, like the model itself, whose parameters keep their names
    there.

    Args:
        model: Stays as it is, but for a hook on its classifier.
        classifier: Path of the module.
    """

    def __init__(self, model: nn.Module, classifier: str) -> None:
        super().__init__()
        self.model = model
        self._fed: list[Tensor] = []
        self._wanted = False
        model.get_submodule(classifier).register_forward_pre_hook(self._take)

    def forward(self, images: Tensor) -> Described:
        """Logits (B, K) and embeddings (B, D)."""
        self._fed.clear()
        self._wanted = True
        try:
            logits = self.model(images)
        finally:
            self._wanted = False
        return Described(logits, self._fed.pop())

    def _take(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self._wanted:
            self._fed.append(inputs[0])

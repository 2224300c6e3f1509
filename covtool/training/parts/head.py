"""The head of a model that is trained, and a new classifier in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from covtool.backbones.classifier import declared_classifier
from covtool.backbones.model_size import new_linear
from covtool.backbones.sites import find_sites
from covtool.errors import DataError, SurgeryError
from covtool.evaluation.classification.class_matching import match_classes
from covtool.specs import InputSpec, Recipe
from covtool.surgery.eigenlayer import eigenlayer_path

if TYPE_CHECKING:
    from covtool.checkpoints.opened import OpenedModel

NEW_CLASSIFIER = "Add --new-classifier to start the classifier afresh for the data's classes."
CLASSIFIER_STD = 0.01  # as torchvision starts the classifiers of its VGG and MobileNet


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """Paths of the modules that turn features into logits; the rest is the backbone.

    Attributes:
        pooling: The pooling, whose reduction is new after a conversion; None where there is no
            module for it.
        classifier: The linear layer that gives the logits.
        eigenlayer: The linear layer in front of it; None without one.
    """

    pooling: str | None
    classifier: str
    eigenlayer: str | None = None

    def holds(self, name: str) -> bool:
        """Return whether a parameter belongs to the head."""
        paths = (self.pooling, self.eigenlayer, self.classifier)
        return any(name.startswith(f"{path}.") for path in paths if path)


def find_head(model: nn.Module, images: InputSpec) -> ClassifierHead:
    """Find the head of a model, by a forward pass.

    Raises:
        SurgeryError: There is no linear classifier, or the model does not run on such images.
    """
    try:
        sites = find_sites(model, images.size, images.channels)
    except SurgeryError:
        # No pooling was found; training needs the classifier alone.
        declared = declared_classifier(model, images.size, images.channels)
        if declared is None:
            raise
        return ClassifierHead(pooling=None, classifier=declared)
    return ClassifierHead(
        pooling=sites.pooling,
        classifier=sites.classifier,
        eigenlayer=eigenlayer_path(model),
    )


def replace_classifier_(model: nn.Module, head: ClassifierHead, num_classes: int) -> None:
    """Put a fresh linear layer, small random weights and no bias, in the classifier's place.

    Raises:
        CheckpointError: Its weights would take more memory than is allowed.
    """
    old = model.get_submodule(head.classifier)
    new = new_linear(old.in_features, num_classes, bias=old.bias is not None)
    nn.init.normal_(new.weight, std=CLASSIFIER_STD)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    model.set_submodule(head.classifier, new.to(old.weight))
    # timm's models carry the number beside the layer, and its tools believe it.
    if hasattr(model, "num_classes"):
        model.num_classes = num_classes


def fit_classes_(
    opened: "OpenedModel", head: ClassifierHead, class_names: Sequence[str], *, new_classifier: bool
) -> tuple[Recipe, str | None]:
    """Make the outputs of a model those of a data set.

    Args:
        opened: Model whose classifier may be replaced.
        head: Head of that model.
        class_names: Classes of the data, in order.
        new_classifier: Whether to start afresh, whatever is there.

    Returns:
        The recipe with these classes, and what was done about them that is worth knowing.

    Raises:
        DataError: The model names its classes and they are others; or it has as many outputs as
            the data has classes, and which is which is not known.
    """
    names, recipe = tuple(class_names), opened.recipe
    if recipe.class_names == names and not new_classifier:
        return recipe, None
    # A classifier that is random anyway has no order of outputs that could be kept.
    random = recipe.class_names is None and recipe.provenance.untrained == ("classifier",)
    if new_classifier or random or _has_others(opened, names):
        replace_classifier_(opened.model, head, len(names))
        was = f"{recipe.num_classes} outputs" + ("" if recipe.class_names else " without names")
        note = f"The classifier ({was}) starts afresh, for {len(names)} classes."
    else:
        note = _keep_classes_(opened, head, names)
    return recipe.model_copy(update={"num_classes": len(names), "class_names": names}), note


def _has_others(opened: "OpenedModel", names: tuple[str, ...]) -> bool:
    """Return whether a model's classes are so many others that its classifier is of no use.

    A model of covtool's that names them was trained for them: to lose them has to be asked for.

    Raises:
        DataError: It was, and they are others.
    """
    recipe = opened.recipe
    if recipe.num_classes == len(names):
        return False
    if recipe.class_names is not None and not opened.is_foreign:
        raise DataError.classes_differ(recipe.class_names, names)
    return True


def _keep_classes_(
    opened: "OpenedModel", head: ClassifierHead, names: tuple[str, ...]
) -> str | None:
    """Put a classifier's outputs into the order of the data's classes; return what was done.

    Raises:
        DataError: The classes are others, or nothing says which output is which.
    """
    recipe = opened.recipe
    try:
        match = match_classes(recipe.class_names, names, recipe.num_classes)
    except DataError as problem:
        raise DataError(problem.message, reason=problem.reason, hint=NEW_CLASSIFIER) from problem
    if not match.is_certain:
        return (
            f"The model does not name its {len(names)} classes: they are taken to be the data's, "
            "in sorted order, which is a guess. --new-classifier starts the classifier afresh."
        )
    if match.label_map == tuple(range(len(names))):
        return match.note
    classifier = opened.model.get_submodule(head.classifier)
    with torch.no_grad():
        for parameter in classifier.parameters(recurse=False):
            parameter.copy_(parameter[list(match.label_map)])
    return "The classifier's outputs are put into the order of the data's classes."

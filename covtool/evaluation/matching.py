"""Which output of a model stands for which class of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

from covtool.data import imagenet
from covtool.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMatch:
    """The classes of a data set among the outputs of a model.

    Attributes:
        names: Of the model's outputs, in order.
        label_map: For each label of the data set, the index of the model's output.
        note: What was assumed, or None.
    """

    names: tuple[str, ...]
    label_map: tuple[int, ...]
    note: str | None = None


def match_classes(
    model_names: Sequence[str] | None, data_names: Sequence[str], num_classes: int
) -> ClassMatch:
    """Find the classes of a data set among a model's outputs.

    By name where the model names its classes; by WordNet id where it has ImageNet's 1000; else the
    order is assumed to be that of the sorted names, which the note says.

    Args:
        model_names: Of the outputs; None where the model does not name them.
        data_names: Of the labels.
        num_classes: Outputs of the model.

    Raises:
        DataError: The data has a class that the model lacks, or their numbers differ and the model
            names none.
    """
    if model_names is not None:
        return _by_name(model_names, data_names)
    if num_classes == imagenet.NUM_CLASSES and imagenet.are_wordnet_ids(data_names):
        return ClassMatch(
            names=imagenet.imagenet_names(),
            label_map=imagenet.wordnet_indices(data_names),
            note="The folders are WordNet ids; the model's 1000 outputs are taken as ImageNet's.",
        )
    if num_classes != len(data_names):
        raise DataError(
            f"The model has {num_classes} classes without names, the data set {len(data_names)}.",
            reason="Nothing says which output stands for which class.",
            hint="Evaluate on the classes that the model was trained for, or finetune it first.",
        )
    return ClassMatch(
        names=tuple(data_names),
        label_map=tuple(range(num_classes)),
        note="The model does not name its classes; they are taken in the data's sorted order.",
    )


def _by_name(model_names: Sequence[str], data_names: Sequence[str]) -> ClassMatch:
    index = {name: position for position, name in enumerate(model_names)}
    if not index.keys() >= set(data_names):
        raise DataError.classes_differ(
            model_names,
            data_names,
            hint="Evaluate on the model's own classes, or finetune it with --new-classifier.",
        )
    few = len(data_names) < len(model_names)
    return ClassMatch(
        names=tuple(model_names),
        label_map=tuple(index[name] for name in data_names),
        note=f"The data has {len(data_names)} of the model's {len(model_names)} classes."
        if few
        else None,
    )

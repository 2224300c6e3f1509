"""Classes of a data set, matched with the outputs of a model."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from covtool.data.datasets import imagenet
from covtool.data.datasets.spelling import spelled_alike, without_number
from covtool.errors import DataError

ClassOrder = Literal["names", "indices", "wordnet", "imagenet-names", "guessed"]
"""What says which output is which class."""

RENAME = (
    "Call the data's classes by the outputs' indices, 0 to {last}, or name the outputs in their "
    "order: covtool evaluate --class-names FILE."
)
GUESS = (
    "The model does not name its classes; they are taken in the data's sorted order. This is a "
    "guess: name them with --class-names FILE."
)
GUESSED = "the order of the classes is a guess"
"""What stands beside every figure of a guess."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMatch:
    """The classes of a data set among the outputs of a model.

    Attributes:
        names: Names of the model's outputs, in order.
        label_map: For each label of the data set, the index of the model's output.
        order: Evidence for the order.
        note: Assumption, as a sentence; None where there is none.
    """

    names: tuple[str, ...]
    label_map: tuple[int, ...]
    order: ClassOrder = "names"
    note: str | None = None

    @property
    def is_certain(self) -> bool:
        """Whether anything says which output is which class."""
        return self.order != "guessed"


def match_classes(
    model_names: Sequence[str] | None, data_names: Sequence[str], num_classes: int
) -> ClassMatch:
    """Find the classes of a data set among a model's outputs.

    By name where the model names its classes; by index where the data's classes are called by
    numbers from 0; by WordNet id or English name where the model has ImageNet's; else, with
    equally many classes called by words, the order is guessed to be that of the sorted names.

    Args:
        model_names: Names of the outputs; None where the model does not name them.
        data_names: Names of the labels.
        num_classes: Number of the model's outputs.

    Raises:
        DataError: The data has a class that the model lacks; or nothing says which output is which
            class, and no guess would be better than another.
    """
    given = None if model_names is None else tuple(model_names)
    for rule in RULES:  # the most certain first
        match = rule(given, tuple(data_names), num_classes)
        if match is not None:
            return match
    if given is not None:
        raise DataError.classes_differ(
            given,
            data_names,
            hint="Evaluate on the model's own classes, or finetune it with --new-classifier.",
        )
    return _guess(data_names, num_classes)


def classes_stay(
    model_names: Sequence[str] | None, data_names: Sequence[str], num_classes: int
) -> bool:
    """Return whether a model's outputs certainly are a data set's classes, each, in this order."""
    try:
        match = match_classes(model_names, data_names, num_classes)
    except DataError:
        return False
    return match.is_certain and match.label_map == tuple(range(num_classes))


_Names = tuple[str, ...] | None


def _by_name(given: _Names, names: tuple[str, ...], num_classes: int) -> ClassMatch | None:
    # A part of the model's classes is enough: a test set may lack some.
    if given is None or not set(given) >= set(names):
        return None
    index = {name: position for position, name in enumerate(given)}
    few = f"The data has {len(names):,} of the model's {len(given):,} classes."
    return ClassMatch(
        names=given,
        label_map=tuple(index[name] for name in names),
        note=few if len(names) < len(given) else None,
    )


def _by_spelling(given: _Names, names: tuple[str, ...], num_classes: int) -> ClassMatch | None:
    """Match names that are equal but for case, separators, or a number before them."""
    if given is None:
        return None
    for spell in (spelled_alike, lambda name: spelled_alike(without_number(name))):
        index = {spell(name): position for position, name in enumerate(given)}
        found = [index.get(spell(name)) for name in names]
        # Spelled alike, two names of the model would be one, and a guess which is meant.
        if len(index) == len(given) and None not in found and len(set(found)) == len(found):
            other = next(
                n for n, position in zip(names, found, strict=True) if given[position] != n
            )
            return ClassMatch(
                names=given,
                label_map=tuple(found),
                note=f"The data spells the model's classes in another way: {other!r} is taken for "
                f"{given[index[spell(other)]]!r}, and so on.",
            )
    return None


def _by_wordnet_id(given: _Names, names: tuple[str, ...], num_classes: int) -> ClassMatch | None:
    if not imagenet.are_wordnet_ids(names) or not _is_imagenet(given, num_classes):
        return None
    return ClassMatch(
        names=given or imagenet.imagenet_names(num_classes),
        label_map=imagenet.wordnet_indices(names, num_classes),
        order="wordnet",
        note=f"The folders are WordNet ids; the model's {num_classes} outputs are taken as "
        "ImageNet's.",
    )


def _contradict(given: tuple[str, ...], names: tuple[str, ...], indices: Sequence[int]) -> bool:
    """Return whether a number is the name of one output and the index of another."""
    return any(name in given and given[i] != name for name, i in zip(names, indices, strict=True))


def _by_index(given: _Names, names: tuple[str, ...], num_classes: int) -> ClassMatch | None:
    """Match numbers that are the outputs' indices, or these padded to one length with zeros."""
    # "3" may be the fourth output, or the name of another one: then nothing is certain.
    indices = _indices(names, num_classes)
    if indices is None or (given is not None and _contradict(given, names, indices)):
        return None
    few = "" if len(names) == num_classes else f", {len(names)} of them"
    note = f"The data's classes are numbers{few}: they are the indices of the model's outputs."
    counts_from_1 = 1 < len(names) < num_classes and sorted(indices) == list(
        range(1, len(names) + 1)
    )
    # Numbers 1 to n of more outputs: data that counts from 1 looks the same as data without the
    # first class. Where the outputs have names, only a later rule may decide.
    if counts_from_1 and given is not None:
        return None
    if counts_from_1:
        note = (
            f"The data's classes are the numbers 1 to {len(names)}: that they are the indices of "
            f"{len(names)} of the model's {num_classes} outputs is a guess, since they may count "
            "from 1."
        )
    return ClassMatch(
        names=given or tuple(map(str, range(num_classes))),
        label_map=indices,
        order="guessed" if counts_from_1 else "indices",
        note=note,
    )


def _indices(names: tuple[str, ...], num_classes: int) -> tuple[int, ...] | None:
    if not names or not all(name.isascii() and name.isdecimal() for name in names):
        return None
    indices = tuple(map(int, names))
    # "01" is padded where all names have two digits; beside "1" it is a name of its own.
    widths = {len(name) for name in names}
    plain = all(str(index) == name for index, name in zip(indices, names, strict=True))
    padded = len(widths) == 1
    in_range = max(indices) < num_classes and len(set(indices)) == len(indices)
    return indices if in_range and (plain or padded) else None


def _by_english_name(given: _Names, names: tuple[str, ...], num_classes: int) -> ClassMatch | None:
    if num_classes != imagenet.NUM_CLASSES or not _is_imagenet(given, num_classes):
        return None
    indices = imagenet.word_indices(names)
    if indices is None:
        return None
    return ClassMatch(
        names=given or imagenet.imagenet_names(),
        label_map=indices,
        order="imagenet-names",
        note=f"The data's classes are called as in ImageNet; the model's {num_classes} outputs are "
        "taken as ImageNet's.",
    )


def _by_words_of_ids(given: _Names, names: tuple[str, ...], num_classes: int) -> ClassMatch | None:
    """Match English words with WordNet ids, where one side's classes are called by ids."""
    if given is None or imagenet.are_wordnet_ids(given) == imagenet.are_wordnet_ids(names):
        return None
    ids, words = (given, names) if imagenet.are_wordnet_ids(given) else (names, given)
    spelled = [spelled_alike(word) for word in words]
    meant = [imagenet.english_of(identifier) for identifier in ids]
    fits = [[n for n, english in enumerate(meant) if word in english] for word in spelled]
    if ids is names:
        fits = [[n for n, word in enumerate(spelled) if word in english] for english in meant]
    # Some words stand for two ids ("crane", a bird and a machine): then nothing is matched.
    found = [fit[0] for fit in fits if len(fit) == 1]
    if len(found) < len(names) or len(set(found)) < len(found):
        return None
    return ClassMatch(
        names=given,
        label_map=tuple(found),
        note="WordNet ids are matched with the English names of the same classes.",
    )


def _is_imagenet(given: _Names, num_classes: int) -> bool:
    """Return whether outputs are ImageNet's: by their names, or without names by their number."""
    return imagenet.has_subset(num_classes) if given is None else imagenet.are_imagenets(given)


RULES: tuple[Callable[[_Names, tuple[str, ...], int], ClassMatch | None], ...] = (
    _by_name,
    _by_spelling,
    _by_wordnet_id,
    _by_index,
    _by_english_name,
    _by_words_of_ids,
)
"""What may say which output is which class, the most certain first."""


def _guess(data_names: Sequence[str], num_classes: int) -> ClassMatch:
    hint = RENAME.format(last=num_classes - 1)
    if num_classes != len(data_names):
        raise DataError(
            f"The model has {num_classes} classes without names, the data set {len(data_names)}.",
            reason="Nothing says which output stands for which class.",
            hint=f"Evaluate on the classes that the model was trained for. {hint}",
        )
    # Sorted as text, 10 comes before 2: the folders' order is hardly that of the outputs.
    numbers = tuple(_unpadded_numbers(data_names))
    if numbers:
        raise DataError(
            f"The data's classes are numbers such as {', '.join(numbers[:3])}, which are not the "
            f"indices of the model's {num_classes} outputs.",
            reason="Nothing says which output stands for which number.",
            hint=hint,
        )
    return ClassMatch(
        names=tuple(data_names),
        label_map=tuple(range(num_classes)),
        order="guessed",
        note=GUESS,
    )


def _unpadded_numbers(names: Sequence[str]) -> Iterator[str]:
    """Yield the names, where all are numbers whose sorted order is not that of numbers."""
    if not all(_NUMBER.fullmatch(name) for name in names):
        return
    if len({len(name) for name in names}) == 1 and any(n.startswith("0") for n in names):
        return
    yield from names

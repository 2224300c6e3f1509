"""Number of all architectures are recognized, under each kind of prefix, company and renaming.

    python benchmarks/recognition.py --output benchmarks/results/recognition.md

Every architecture of the index is made into a file of each kind, with its names and shapes and no
numbers, and identified. It counts as recognized where it is among the candidates with its number of
classes, as refused where nothing is taken, and as wrong where others are taken without it.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from covtool.backbones.architectures import load_index
from covtool.backbones.fingerprint import Architecture
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.recognizing import identify
from covtool.errors import CheckpointError

State = dict[str, Tensor]
ZERO = torch.zeros(())


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way in which people's files differ from a library's own.

    Attributes:
        name: Name in the table.
        change: Function from the state dict of an architecture to that of such a file.
        format: Format of the file.
        classes: Whether the classifier is still to be found.
        applies: Whether it applies to an architecture.
    """

    name: str
    change: Callable[[State, Architecture], State]
    format: str = "zip"
    classes: bool = True
    applies: Callable[[Architecture], bool] = lambda architecture: True


def _below(name: str, architecture: Architecture) -> bool:
    return name.startswith(tuple(f"{c}." for c in architecture.classifiers))


def prefixed(prefix: str) -> Callable[[State, Architecture], State]:
    """Put all names behind a prefix."""
    return lambda state, _: {prefix + name: tensor for name, tensor in state.items()}


def with_company(state: State, _: Architecture) -> State:
    """Behind a prefix, with a projector, a queue, a loss and metrics beside it."""
    others = {
        "projector.0.weight": (512, 64), "projector.1.running_mean": (512,), "queue": (16, 64),
        "criterion.centers": (10, 64), "train_acc.tp": (10,),
    }  # fmt: skip
    body = {f"model.{name}": tensor for name, tensor in state.items()}
    return {**body, **{name: ZERO.expand(shape) for name, shape in others.items()}}


def with_momentum_copy(state: State, _: Architecture) -> State:
    """Twice, as MoCo's query and key encoder."""
    names = ("module.encoder_q.", "module.encoder_k.")
    both = {prefix + n: t for prefix in names for n, t in state.items()}
    first = next(iter(both))
    return {**both, first: both[first] + 1}  # the two are not the same


def without_classifier(state: State, architecture: Architecture) -> State:
    """Keep the body only."""
    return {n: t for n, t in state.items() if not _below(n, architecture)}


def with_own_head(state: State, architecture: Architecture) -> State:
    """Put a head of two layers, of another number of features, in place of the classifier."""
    head = {"my_head.0.weight": (64, 33), "my_head.0.bias": (64,), "my_head.2.weight": (7, 64)}
    body = without_classifier(state, architecture)
    return {**body, **{name: ZERO.expand(shape) for name, shape in head.items()}}


def with_head_apart(state: State, architecture: Architecture) -> State:
    """MMPretrain's: the body behind ``backbone.``, the classifier called ``head.fc``."""
    (module,) = architecture.classifiers
    return {
        f"head.fc.{n.rpartition('.')[2]}" if _below(n, architecture) else f"backbone.{n}": t
        for n, t in state.items()
        if module
    }


def in_sorted_order(state: State, _: Architecture) -> State:
    """Return the order that a safetensors file has."""
    return {name: state[name] for name in sorted(state)}


def _has_linear_classifier(architecture: Architecture) -> bool:
    return len(architecture.classifiers) == 1


KINDS = (
    Kind(name="as it is", change=lambda state, _: state),
    *(
        Kind(name=f"behind `{prefix}`", change=prefixed(prefix))
        for prefix in ("module.", "base.", "backbone.0.body.", "module.encoder_q.", "model.model.")
    ),
    Kind(name="a projector, a queue, a loss, metrics beside it", change=with_company),
    Kind(name="query and key encoder of MoCo", change=with_momentum_copy),
    Kind(name="the body alone", change=without_classifier, classes=False),
    Kind(name="a head of two layers of its own", change=with_own_head, classes=False),
    Kind(
        name="`backbone.` and `head.fc`",
        change=with_head_apart,
        applies=_has_linear_classifier,
    ),
    Kind(name="safetensors, sorted", change=in_sorted_order, format="safetensors"),
)


def outcome(kind: Kind, architecture: Architecture, state: State, classes: int | None) -> str:
    """``recognized``, ``refused`` or ``wrong``."""
    file = ForeignCheckpoint(
        path=Path("weights.pth"), format=kind.format, tensors=kind.change(state, architecture)
    )
    try:
        found = identify(file)
    except CheckpointError:
        return "refused"
    if not found.is_certain:
        return "refused"
    same = [c for c in found.candidates if c.architecture.name == architecture.name]
    if not same:
        return "wrong"
    return "recognized" if same[0].num_classes == (classes if kind.classes else None) else "wrong"


def rows() -> Iterator[tuple[Architecture, State, int | None]]:
    """Yield every architecture, its state dict without numbers, and its classes."""
    index = load_index()
    for row, architecture in enumerate(index.architectures):
        state = {name: ZERO.expand(shape) for name, shape in index.tensors(row)}
        heads = [t.shape[0] for n, t in state.items() if _below(n, architecture) and t.dim() > 1]
        yield architecture, state, heads[0] if heads else None


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    counts: dict[str, Counter] = {kind.name: Counter() for kind in KINDS}
    examples: dict[tuple[str, str], list[str]] = {}
    for architecture, state, classes in rows():
        for kind in KINDS:
            if not kind.applies(architecture):
                continue
            found = outcome(kind, architecture, state, classes)
            counts[kind.name][found] += 1
            if found != "recognized":
                examples.setdefault((kind.name, found), []).append(architecture.name)
    lines = [
        "# Recognition of every architecture, by kind of file",
        "",
        f"`python benchmarks/recognition.py --output {arguments.output}`",
        "",
        "| kind of file | architectures | recognized | refused | wrong |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, count in counts.items():
        shown = " | ".join(str(count[key]) for key in ("recognized", "refused", "wrong"))
        lines.append(f"| {name} | {count.total()} | {shown} |")
    lines += ["", "Not recognized:", ""] if examples else []
    for (kind, found), names in examples.items():
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        lines.append(f"- {kind}, {found}: {', '.join(names[:8])}{more}")
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

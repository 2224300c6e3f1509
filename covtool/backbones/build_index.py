"""Build the index of architectures: ``python -m covtool.backbones.build_index [--output PATH]``.

Every model of the installed timm and torchvision is built once without memory for its weights,
which takes about two minutes; their names are written beside the index, with ``--only-names``
nothing else. Run it when either library has been updated.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import timm
import torchvision
from timm.models import get_arch_pretrained_cfgs, is_model
from timm.models._registry import _deprecated_models  # no public name, checked by a test

from covtool.backbones.create import InstalledNames
from covtool.backbones.fingerprint import (
    Architecture,
    Fingerprint,
    all_timm_names,
    all_torchvision_names,
    timm_fingerprint,
    torchvision_fingerprints,
)
from covtool.backbones.index import ArchitectureIndex, make_index, write_index
from covtool.backbones.names import SHIPPED, ShippedNames, write_names
from covtool.progress import Track, silent

DEFAULT_OUTPUT = Path(__file__).with_name("architectures.xz")

_NO_TAG = "no-such-tag"

_log = logging.getLogger(__name__)


def installed_versions() -> dict[str, str]:
    """Return versions of the libraries that define architectures."""
    # Without the build, as in +cpu: it does not change what an architecture is.
    return {"timm": timm.__version__, "torchvision": torchvision.__version__.partition("+")[0]}


def installed_names() -> list[tuple[str, str]]:
    """(library, name) of every architecture that can be built here."""
    timm_names = [("timm", name) for name in all_timm_names()]
    return timm_names + [("torchvision", name) for name in all_torchvision_names()]


def learn_names() -> ShippedNames:
    """Return the names of the installed libraries, as they are shipped."""
    # Only here: it loads torch.distributed and torch._dynamo, and every command has this module.
    from timm.optim import list_optimizers

    known = InstalledNames()
    outdated = [name for name in _deprecated_models if is_model(name)]
    return ShippedNames(
        versions=installed_versions(),
        listed=known.timm(),
        tagged={name: _tags(name, known) for name in (*known.timm(), *outdated)},
        of_torchvision=known.torchvision(),
        optimizers=list_optimizers(),
    )


def _tags(name: str, known: InstalledNames) -> tuple[list[str], int] | None:
    """Return the tags that timm takes, those with weights first, and the number of these."""
    if known.has_tag(name, _NO_TAG):
        return None
    published = list(known.tags(name))
    others = (config.partition(".")[2] for config in get_arch_pretrained_cfgs(name))
    return list(dict.fromkeys((*published, *filter(None, others)))), len(published)


def build_index(names: Sequence[tuple[str, str]], track: Track = silent) -> ArchitectureIndex:
    """Build each of `names` and index it; what cannot be built is logged, and has no tensors."""
    fingerprints = _fingerprints(track(names, "Learning architectures", len(names)))
    return make_index(fingerprints, installed_versions())


def _fingerprints(names: Iterator[tuple[str, str]]) -> Iterator[Fingerprint]:
    for library, name in names:
        try:
            if library == "timm":
                yield timm_fingerprint(name)
            else:
                yield from torchvision_fingerprints(name)
        except Exception as problem:  # any library may raise anything; one model is not all
            _log.warning("%s cannot build %s: %s", library, name, problem)
            # Without tensors it fits no file, and is not tried again at the next start.
            yield Fingerprint(architecture=Architecture(library=library, name=name), tensors=())


def _logged(names: Sequence[tuple[str, str]], description: str, total: int) -> Iterator:
    for count, name in enumerate(names):
        if count % 100 == 0:
            _log.info("%s %d/%d", description, count, total)
        yield name


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the index and write it."""
    parser = argparse.ArgumentParser(description="Build covtool's index of architectures.")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="file to write")
    parser.add_argument("--only-names", action="store_true", help="write the names alone")
    parsed = parser.parse_args(arguments)
    output = parsed.output
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_names(learn_names(), output.with_name(SHIPPED.name))
    if parsed.only_names:
        return
    index = build_index(installed_names(), _logged)
    write_index(index, output)
    _log.info(
        "%d architectures, %d tensors, %d bytes",
        len(index.architectures),
        len(index.pairs),
        output.stat().st_size,
    )


if __name__ == "__main__":
    main()

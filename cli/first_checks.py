"""What is checked before torch is loaded: that inputs are there, outputs are free, names exist.

The library checks the same again, with the same functions, for those who call it from Python.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from covtool.atomic import require_writable
from covtool.atomic.folders import require_folder
from covtool.errors import CheckpointError
from covtool_cli import launching

OF_MODELS = (*(".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".index"), ".pth.tar", ".pt.tar")
"""Endings of files that stand before the images, in the order of the arguments; other tar files
may hold images."""


def require_models(*names: str | None) -> None:
    """Refuse names that are neither those of files nor of architectures.

    Args:
        *names: Names or paths of models; None for none.

    Raises:
        CheckpointError: There is no such model.
    """
    # Not at the top, here and below: it is for commands that open models, and help does not wait.
    from covtool.checkpoints.naming import require_model

    for name in filter(None, names):
        require_model(name)


def require_model_before(images: Iterable[str | Path], *names: str | None) -> None:
    """Refuse names of models like `require_models`; say so where a model stands among the images.

    Args:
        images: Arguments for images, which follow the model.
        *names: Names or paths of models; None for none.

    Raises:
        CheckpointError: There is no such model.
        DataError: There is none, but a file of one is in the place of images.
    """
    from covtool.data.datasets.places import no_images_in

    try:
        require_models(*names)
    except CheckpointError:
        for path in map(Path, images):
            if path.name.lower().endswith(OF_MODELS) and _is_file(path):
                raise no_images_in(path) from None
        raise


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


def require_some_models(*names: str) -> None:
    """Refuse names of models, except where there is something: it may also be a run.

    Raises:
        CheckpointError: There is neither a file, nor a folder, nor an architecture of a name.
    """
    require_models(*(name for name in names if not os.path.lexists(name)))


def require_runs(runs: Iterable[Path]) -> None:
    """Refuse paths where no run can be, as nothing is there.

    Raises:
        DataError: There is nothing at a path.
    """
    from covtool.plotting.run_history import read_runs

    for run in runs:
        if not os.path.lexists(run):
            read_runs([run])  # which says so


def require_runs_to_compare(*names: str) -> None:
    """Refuse what is not the folder of a run, nor of several.

    Raises:
        ArgumentError: A name leads to neither.
    """
    from covtool.run_files import runs_to_compare

    runs_to_compare(names)


def require_data(*roots: Path | None) -> None:
    """Refuse data sets that do not exist.

    Raises:
        DataError: There is nothing at a path.
    """
    from covtool.data.datasets.places import require_data_set

    for root in filter(None, roots):
        require_data_set(root)


def require_images(arguments: Iterable[str | Path]) -> None:
    """Refuse arguments for images where nothing is.

    Raises:
        DataError: There is nothing at a path.
    """
    from covtool.data.datasets.places import require_images

    for argument in arguments:
        require_images(argument)


def require_heads(texts: Iterable[str]) -> None:
    """Refuse heads that do not exist, as a comparison takes them: ``all``, ``isqrt:dim=128``.

    Raises:
        UnknownVariantError: There is no such head, or no such option of heads.
        ArgumentError: An option has no value, or is there twice.
    """
    from covtool.specs.comparing import ALL, parse_head
    from covtool.variant_names import require_variant

    for text in texts:
        name, _ = parse_head(text)
        if name != ALL:
            require_variant("head", name)


def require_forms(
    *,
    heads: Iterable[str] = (),
    operators: Iterable[str] = (),
    maps: Iterable[str] = (),
    convolutions: Iterable[str] = (),
    searches_of: Iterable[str] = (),
) -> None:
    """Refuse what a benchmark cannot measure.

    Args:
        heads: Heads, as ``mpn:taylor``.
        operators: Operators, as ``tanh:sigmoid``.
        maps: Shapes of feature maps, as ``16x256x7x7``.
        convolutions: Shapes of feature maps and kernels, as ``16x64x56x56:3x3``.
        searches_of: Queries, gallery and features, as ``3368x19281x2048``.

    Raises:
        ArgumentError: There is no such head, operator or shape.
    """
    from covtool.benchmarking import names

    for read, texts in (
        (names.parse_head, heads),
        (names.parse_operator, operators),
        (names.parse_map, maps),
        (names.parse_convolution, convolutions),
        (names.parse_search, searches_of),
    ):
        for text in texts:
            read(text)


def require_outputs(*paths: Path | None, overwrite: bool) -> None:
    """Refuse outputs that exist, or that could not be written.

    Raises:
        ArgumentError: There is no folder for it, it is not a file's place, or it is read-only.
        OutputExistsError: It exists, and `overwrite` is False.
    """
    if launching.is_main():  # of several processes, the first writes
        for path in filter(None, paths):
            require_writable(path, overwrite=overwrite)


def require_folders(*paths: Path | None) -> None:
    """Refuse folders that could not be made or be written to.

    Raises:
        ArgumentError: One could not.
    """
    for path in filter(None, paths):
        require_folder(path)


def require_run(output: Path, command: str, experiment: str | None) -> None:
    """Refuse a place where no run can be written.

    Raises:
        ArgumentError: Its folder cannot be made or not be written to, or `experiment` is no name.
    """
    from covtool.run_files.places import require_run_place

    if launching.is_main():
        require_run_place(output, command, experiment)


def require_optimizer(name: str) -> None:
    """Refuse an optimizer that timm does not have.

    Raises:
        UnknownVariantError: It is known that timm has none of that name.
    """
    from covtool.backbones.names import shipped_names
    from covtool.variant_names import require_optimizer

    known = shipped_names()
    if known is not None:
        require_optimizer(name, known.optimizers)

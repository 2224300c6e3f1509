"""What a run was made of, found again from its folder: its first images, its parameter groups."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from covtool.data.datasets.layout import in_order_of
from covtool.data.loading.batch_sampler import Shard
from covtool.data.loading.batches import Loaded
from covtool.data.loading.loaders import training_loader
from covtool.errors import DataError
from covtool.run_files import ARGUMENTS, RECIPE, read_settings
from covtool.specs import FinetuneRequest, InputSpec
from covtool.specs.recipe_reading import recipe_of_run
from covtool.surgery.rebuild import rebuild
from covtool.training.parts.assembly import planned_freezing
from covtool.training.parts.freezing import set_trainable_
from covtool.training.parts.head import find_head
from covtool.training.parts.parameter_groups import ParameterGroup, plan_parameter_groups
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import SilentObserver
from covtool.training.start.prepare import read_layout
from covtool.training.start.resume import images_of_run


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstImages:
    """Images of a run's first batch, varied at random as the network saw them.

    Attributes:
        pixels: Shape (B, C, H, W), uint8: what is normalized before the network gets it.
        classes: Name of the class of each.
        paths: File of each; one that could not be read was replaced by another.
        replaced: Number of those.
    """

    pixels: Tensor
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    replaced: int


def first_images(run: Path, *, at_most: int) -> FirstImages:
    """Make the images of a run's first batch again, from its settings and its seed.

    No global random state is touched. Of a run in several processes, it is the first one's share.

    Args:
        run: Folder of the run.
        at_most: Most images to make.

    Raises:
        ArgumentError: Settings or recipe of the run cannot be read.
        DataError: Its images are not there any more.
    """
    request = request_of_run(run)
    recipe = recipe_of_run(run / RECIPE)
    found = images_of_run(RunDirectory(run), request)
    layout, left_out = found or (read_layout(request, SilentObserver()), frozenset())
    layout = in_order_of(layout, recipe.class_names or ())
    samples = layout.samples("train")
    if left_out:
        samples = [sample for sample in samples if sample.path not in left_out]
    loader = training_loader(
        samples,
        recipe.input,
        request.augmentation,
        objective=request.objective,
        batch_size=request.training.batch_size,
        workers=0,
        seed=request.training.seed,
        shard=Shard(0, request.processes.nproc),
        on_bad_image="skip",
        exact_decode=request.loading.exact_decode,
    )
    loader.set_epoch(0)
    draws = next(iter(loader.batch_sampler))[:at_most]
    # Not by iterating over the loader, which would draw from torch's global generator.
    batch = loader.collate_fn([loader.dataset[draw] for draw in draws])
    if not isinstance(batch, Loaded) or batch.images is None:
        raise batch if isinstance(batch, DataError) else DataError("There is no image to show.")
    return FirstImages(
        pixels=_as_pixels(batch.images, recipe.input),
        classes=tuple(layout.class_names[label] for label in batch.labels.tolist()),
        paths=tuple(Path(samples[draw.index].path) for draw in draws),
        replaced=len(batch.unreadable),
    )


def parameter_groups_of(run: Path) -> tuple[ParameterGroup, ...]:
    """Plan the parameter groups of a run again, of the model that its recipe describes.

    Raises:
        ArgumentError: Settings or recipe of the run cannot be read.
    """
    request, recipe = request_of_run(run), recipe_of_run(run / RECIPE)
    with torch.random.fork_rng(devices=[]):  # new weights are drawn, which nothing else may notice
        model = rebuild(recipe)
    head = find_head(model, recipe.input)
    freezing, _ = planned_freezing(model, head, request)
    set_trainable_(model, freezing.trained)
    return plan_parameter_groups(model, head, request.training)


def request_of_run(run: Path) -> FinetuneRequest:
    """Return the request that a run was started with.

    Raises:
        ArgumentError: Its settings cannot be read.
    """
    return FinetuneRequest.from_arguments(read_settings(run / ARGUMENTS))


def _as_pixels(images: Tensor, input: InputSpec) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    # Erased rectangles come after the normalization, which is undone here.
    shape = (1, -1, 1, 1)
    mean = torch.tensor(input.mean, dtype=images.dtype).reshape(shape)
    std = torch.tensor(input.std, dtype=images.dtype).reshape(shape)
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

"""One pass of a network over the images, which keeps the maps that its candidates pool.

What a converted network pools is the tapped module's output, unless functions of the model's own
code lie in between. Whether that is so is found out on the first batch: there a network that is
really converted has to get the very same numbers. Where it does not, the map is taken from that
network itself, which costs a pass of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.comparing.candidates import Candidate, Subject
from covtool.comparing.head_on_maps import LABELS, VECTORS, needs_map, needs_vectors
from covtool.comparing.map_store import MapStore
from covtool.data.loading.image_loader import ImageLoader
from covtool.progress import Track
from covtool.surgery import HeadPlan, apply_head, pooling_of

FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesOf:
    """The images of a network.

    Attributes:
        loader: Makes a loader of the batches of these numbers, in order.
        label_map: For each label of the data set, that of the network's classifier, shape (K,).
    """

    loader: Callable[[Sequence[int]], ImageLoader]
    label_map: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMap:
    """A map, or a vector, that is kept of each image.

    Attributes:
        name: Its name in a `MapStore`.
        plan: Plan of a head that pools it.
        numbers: Numbers of an image.
    """

    name: str
    plan: HeadPlan
    numbers: int


def map_names(plan: HeadPlan) -> tuple[str, ...]:
    """Return the names under which the maps that a head pools are kept, in the order of its taps.

    What stays behind the tap beside a fused head is left out by another: both may see the map in
    another order of its axes, and so the names differ.
    """
    return tuple(
        f"{tap.path} beside the average" if plan.spec.fuse else tap.path for tap in plan.taps
    )


def kept_maps(candidates: Sequence[Candidate], *, for_pairs: bool = False) -> tuple[KeptMap, ...]:
    """Return everything that the heads of a network on one tap each need, each once.

    Args:
        candidates: The heads.
        for_pairs: Whether heads over two of the taps may follow: these pool the last map
            themselves, also where a head alone leaves that to the network.
    """
    found: dict[str, KeptMap] = {}
    for plan in (candidate.plan for candidate in candidates):
        if needs_map(plan) or for_pairs:
            [name] = map_names(plan)
            tokens = plan.tap.positions + plan.tap.num_prefix_tokens
            numbers = plan.tap.channels * tokens
            found.setdefault(name, KeptMap(name=name, plan=plan, numbers=numbers))
        if needs_vectors(plan):
            numbers = plan.sites.in_features
            found.setdefault(VECTORS, KeptMap(name=VECTORS, plan=plan, numbers=numbers))
    return tuple(found.values())


def maps_bytes(kept: Sequence[KeptMap], images: int) -> int:
    """Return bytes of maps of so many images."""
    return FLOAT * images * sum(one.numbers for one in kept)


def keep_maps(
    subject: Subject,
    kept: Sequence[KeptMap],
    store: MapStore,
    images: ImagesOf,
    *,
    device: torch.device,
    track: Track,
) -> tuple[str, ...]:
    """Run a network over the images and keep what its heads need, in place of `store`.

    Parts that are there already are not made again.

    Args:
        subject: The network; on the CPU again afterwards.
        kept: What is kept.
        store: Where it is kept, and the labels with it.
        images: The images.
        device: Device that the network runs on.
        track: Display of the progress.

    Returns:
        Names of the maps that needed a pass of their own.
    """
    model = subject.opened.model.to(device)
    try:
        hooked, own = _told_apart(model, kept, images, device)
        _pass(model, _sources(model, hooked), store, images, device, track)
        for one in own:
            converted = apply_head(model, one.plan).eval()
            _pass(
                converted, [(one.name, _pooled(converted, one.plan))], store, images, device, track
            )
    finally:
        model.cpu()
    return tuple(one.name for one in own)


Source = tuple[str, Callable[[list[Tensor]], object]]
"""A name, and a function that registers a hook which appends what is kept to a list."""


def _sources(model: nn.Module, kept: Sequence[KeptMap]) -> list[Source]:
    return [(one.name, _in_source(model, one)) for one in kept]


def _in_source(model: nn.Module, kept: KeptMap) -> Callable[[list[Tensor]], object]:
    """Return the hook that takes what is kept from the unchanged network."""
    if kept.name == VECTORS:
        return _given(model.get_submodule(kept.plan.sites.classifier))
    module = model.get_submodule(kept.plan.tap.path)
    # A copy: what follows may work in place.
    return lambda found: module.register_forward_hook(
        lambda m, arguments, output: found.append(output.detach().clone())
    )


def _pooled(converted: nn.Module, plan: HeadPlan) -> Callable[[list[Tensor]], object]:
    """Return the hook that takes what the pooling of a converted network is given."""
    return _given(pooling_of(converted, plan))


def _given(module: nn.Module) -> Callable[[list[Tensor]], object]:
    return lambda found: module.register_forward_pre_hook(
        lambda m, arguments: found.append(arguments[0].detach().clone())
    )


@contextmanager
def _hooked(sources: Sequence[Source]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect what is kept by name, as long as the block lasts."""
    found: dict[str, list[Tensor]] = {name: [] for name, _ in sources}
    with ExitStack() as stack:
        for name, register in sources:
            stack.callback(register(found[name]).remove)
        yield found


def _told_apart(
    model: nn.Module, kept: Sequence[KeptMap], images: ImagesOf, device: torch.device
) -> tuple[list[KeptMap], list[KeptMap]]:
    """Return what the unchanged network shows, and what only a converted one does."""
    first = next(iter(images.loader([0])))[0].to(device)
    with torch.inference_mode(), _hooked(_sources(model, kept)) as found:
        model(first)
    hooked, own = [], []
    for one in kept:
        same = one.name == VECTORS or _is_same(model, one, first, found[one.name])
        (hooked if same else own).append(one)
    return hooked, own


def _is_same(model: nn.Module, kept: KeptMap, images: Tensor, found: list[Tensor]) -> bool:
    if kept.plan.spec.own_average:  # no head alone pools it; a head over two maps is looked at
        return True
    converted = apply_head(model, kept.plan).eval()
    with torch.inference_mode(), _hooked([("", _pooled(converted, kept.plan))]) as pooled:
        converted(images)
    return len(found) == 1 and torch.equal(found[0], pooled[""][0])


def _pass(
    model: nn.Module,
    sources: Sequence[Source],
    store: MapStore,
    images: ImagesOf,
    device: torch.device,
    track: Track,
) -> None:
    names = [name for name, _ in sources]
    missing = [p for p in range(store.parts) if not all(store.has(n, p) for n in (*names, LABELS))]
    if not missing:
        return
    batches = [batch for part in missing for batch in store.batches_of(part)]
    shown = iter(track(images.loader(batches), "feature maps", len(batches)))
    for part in missing:
        labels = []
        with torch.inference_mode(), _hooked(sources) as found:
            for _ in store.batches_of(part):
                batch, targets = next(shown)
                model(batch.to(device))
                labels.append(images.label_map[targets])
                for name in names:
                    found[name][-1] = found[name][-1].float().cpu()
        for name in names:
            store.put(name, part, found[name])
        store.put(LABELS, part, labels)
    for _ in shown:  # to its end: a bar that is not finished would stay
        pass

"""The heads that are compared on one network for one image size: each planned, or the reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from covtool.backbones.feature_maps import FeatureMap
from covtool.backbones.sites import Sites, find_sites
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.places import stem_of
from covtool.comparing.records import LeftOutRow
from covtool.comparing.taps import choose_taps
from covtool.errors import CovtoolError, SurgeryError
from covtool.evaluation.classification.class_matching import classes_stay
from covtool.specs import HeadSpec, ModelSource
from covtool.specs.comparing import ALL, head_of, parse_head
from covtool.surgery import HeadPlan
from covtool.surgery.operations import PlanContext, plan_step
from covtool.surgery.options import changed_options
from covtool.variants import HEADS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A head that can be built.

    Attributes:
        asked: Head as it was asked for at every tap.
        spec: Head as `convert` is asked for it.
        plan: Plan of it, with every choice made.
        label: Short name of the row.
    """

    asked: HeadSpec
    spec: HeadSpec
    plan: HeadPlan
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network for one image size, with the heads that are compared on it.

    Attributes:
        source: The model as it was asked for.
        opened: The model.
        sites: Its sites; None where a head has no place.
        class_names: Classes in the order of its classifiers.
        prefix: Beginning of its rows' labels.
        candidates: Heads that can be built.
        left_out: Heads that cannot.
    """

    source: ModelSource
    opened: OpenedModel
    sites: Sites | None
    class_names: tuple[str, ...]
    prefix: str = ""
    candidates: tuple[Candidate, ...] = ()
    left_out: tuple[LeftOutRow, ...] = ()

    @property
    def name(self) -> str:
        """Name of the model, as it was given."""
        return self.source.name

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.opened.recipe.input.size


def asked_heads(texts: Sequence[str]) -> tuple[HeadSpec, ...]:
    """Return the heads of a request, each once.

    Args:
        texts: Heads as they are written; ``all`` for each, with the options that it takes.

    Raises:
        UnknownVariantError: There is no such head, or no such option.
        ArgumentError: An option cannot have such a value, or the head does not take it.
    """
    return tuple(dict.fromkeys(head for text in texts for head in _heads(text)))


def _heads(text: str) -> Iterator[HeadSpec]:
    name, options = parse_head(text)
    if name == ALL:
        for row in HEADS:
            yield head_of(row.name, {k: v for k, v in options.items() if k in row.options})
        return
    row = HEADS[name]
    if untaken := [key for key in options if key not in row.options]:
        takers = [other.name for other in HEADS if untaken[0] in other.options]
        raise SurgeryError(
            f"--head {name} takes no {untaken[0].replace('_', '-')}.",
            hint=f"Leave it out, or choose a head that takes it: {', '.join(takers)}.",
        )
    yield head_of(name, options)


def with_sites(subject: Subject, heads: Sequence[HeadSpec]) -> Subject:
    """Return a network with its sites; where a head has no place, all heads are left out."""
    images = subject.opened.recipe.input
    try:
        sites = find_sites(subject.opened.model, images.size, images.channels)
    except SurgeryError as problem:
        left_out = tuple(
            _left_out(subject, head, (), f"{subject.prefix}{head_text(head)}", problem)
            for head in heads
        )
        return replace(subject, left_out=left_out)
    return replace(subject, sites=sites)


def with_candidates(subject: Subject, heads: Sequence[HeadSpec], taps: Sequence[str]) -> Subject:
    """Return a network with its heads planned.

    Args:
        subject: The network, with its sites.
        heads: Heads to plan at each tap. One that reduces to more channels than a tap has gets as
            many as there are.
        taps: Paths of modules, `AUTO` and `ALL`.
    """
    if subject.sites is None:
        return subject
    candidates: dict[HeadSpec, Candidate] = {}
    left_out: dict[HeadSpec, LeftOutRow] = {}
    for tap in choose_taps(subject.opened.model, subject.sites, taps):
        for head in heads:
            spec = _at(head, tap, subject.sites)
            try:
                candidates.setdefault(spec, planned(subject, head, spec, (tap.path,)))
            except CovtoolError as problem:
                label = label_of(subject, spec, (tap.path,))
                left_out[spec] = _left_out(subject, spec, (tap.path,), label, problem)
    return replace(
        subject, candidates=tuple(candidates.values()), left_out=tuple(left_out.values())
    )


def planned(subject: Subject, asked: HeadSpec, spec: HeadSpec, taps: tuple[str, ...]) -> Candidate:
    """Return a head that is planned on a network.

    Args:
        subject: The network.
        asked: Head as it was asked for at every tap.
        spec: Head as `convert` is asked for it.
        taps: Maps that it pools, for its label.

    Raises:
        CovtoolError: It cannot be built.
    """
    recipe, names = subject.opened.recipe, subject.class_names
    context = PlanContext(
        images=recipe.input,
        num_classes=len(names),
        new_classes=not classes_stay(recipe.class_names, names, recipe.num_classes),
        calibrated=True,
    )
    plan = plan_step(subject.opened.model, spec, context).plan
    return Candidate(asked=asked, spec=spec, plan=plan, label=label_of(subject, spec, taps))


def label_of(subject: Subject, spec: HeadSpec, taps: Sequence[str]) -> str:
    """Return the short name of a head's row."""
    return f"{subject.prefix}{head_text(spec)} @ {' + '.join(taps)}"


def _at(head: HeadSpec, tap: FeatureMap, sites: Sites) -> HeadSpec:
    """Return a head at a tap, as `convert` is asked for it."""
    row = HEADS[head.head]
    reduces = (head.reduction or ("linear" if row.second_order else row.reduction)) != "none"
    dim = min(head.dim, tap.channels) if reduces else head.dim
    path = None if tap.path == sites.default_tap.path else tap.path
    return head.model_copy(update={"dim": dim, "tap": path})


def head_text(head: HeadSpec) -> str:
    """Return a head as ``--head`` takes it."""
    options = ",".join(
        f"{option.replace('_', '-')}={getattr(head, option):g}"
        if isinstance(getattr(head, option), float)
        else f"{option.replace('_', '-')}={getattr(head, option)}"
        for option in changed_options(head)
        if option not in ("head", "tap", "own_average")
    )
    return f"{head.head}:{options}" if options else head.head


def _left_out(
    subject: Subject, head: HeadSpec, taps: tuple[str, ...], label: str, problem: CovtoolError
) -> LeftOutRow:
    return LeftOutRow(
        checkpoint=subject.name,
        img_size=subject.img_size,
        taps=taps,
        head=head,
        label=label,
        reason=" ".join(part for part in (problem.message, problem.reason) if part),
    )


def prefixes(sources: Sequence[tuple[str, tuple[int, int]]]) -> list[str]:
    """Return beginnings of labels that tell models and image sizes apart; empty for one of each.

    Args:
        sources: Name and image size of each.

    Example:
        >>> prefixes([("a/lite0.pth", (224, 224)), ("a/lite0.pth", (320, 320))])
        ['224 px ', '320 px ']
    """
    names = list(dict.fromkeys(name for name, _ in sources))
    short = {name: stem_of(name) for name in names}
    if len(set(short.values())) < len(names):
        short = {name: name for name in names}
    several = len({size for _, size in sources}) > 1
    return [
        (f"{short[name]} " if len(names) > 1 else "")
        + (f"{in_pixels(size)} px " if several else "")
        for name, size in sources
    ]


def in_pixels(size: tuple[int, int]) -> str:
    """Return a size as ``--img-size`` takes it."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"

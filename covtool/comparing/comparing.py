"""Heads, taps, checkpoints and image sizes side by side, nothing trained."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from covtool.atomic import require_room, saving
from covtool.comparing.candidates import Subject
from covtool.comparing.choosing import judge
from covtool.comparing.commands import convert_command
from covtool.comparing.map_store import MapStore
from covtool.comparing.measuring import (
    FittedHead,
    Fitting,
    MeasuredRow,
    Measuring,
    Stopwatch,
    is_as_converted,
    measured_row,
    without_row,
)
from covtool.comparing.pairs import PairSearch
from covtool.comparing.passes import ImagesOf, keep_maps, kept_maps
from covtool.comparing.preparing import PreparedComparison, prepare_comparison
from covtool.comparing.records import (
    MEAN_AVERAGE_PRECISION,
    TOP_1,
    ComparedRow,
    Comparison,
    Durations,
    LeftOutRow,
)
from covtool.comparing.request import CompareRequest
from covtool.comparing.work_folder import subject_key
from covtool.data.datasets.samples import Sample
from covtool.data.loading.image_loader import ImageLoader
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import SurgeryError
from covtool.progress import Track, silent


def compare(request: CompareRequest, *, track: Track = silent) -> Comparison:
    """Compare heads by what each training image gets from a classifier solved without it.

    Args:
        request: Models, heads and data.
        track: Display of the progress.

    Raises:
        CheckpointError: A model cannot be opened, or has random weights.
        SurgeryError: None of the heads can be built.
        DataError: The data cannot be used.
        ArgumentError: There is no such head or tap, or no room for the maps.
    """
    return compare_prepared(prepare_comparison(request, track=track), track=track)


def compare_prepared(prepared: PreparedComparison, *, track: Track = silent) -> Comparison:
    """Compare what `prepare_comparison` has prepared; see `compare`."""
    watch = Stopwatch()
    measured: list[MeasuredRow] = []
    left_out = [row for subject in prepared.subjects for row in subject.left_out]
    notes = list(prepared.notes)
    for subject, estimate in zip(prepared.subjects, prepared.estimates, strict=True):
        with ExitStack() as stack:
            folder = None
            if estimate.place == "files":
                folder = _folder(prepared, subject, estimate.maps_bytes, stack)
            rows, own = _rows_of(prepared, subject, folder, watch, track)
        measured += [row for row in rows if isinstance(row, MeasuredRow)]
        left_out += [row for row in rows if isinstance(row, LeftOutRow)]
        notes += [_on_own_pass(subject, name) for name in own]
    if not measured:
        raise SurgeryError(
            f"No head could be solved for: {left_out[-1].label}: {left_out[-1].reason}"
        )
    with watch.of("intervals"):
        rows = _judged(prepared, measured)
    return Comparison(
        rows=rows,
        left_out=tuple(left_out),
        data=f"{prepared.layout.name} {prepared.layout.split_names['train']}",
        images=len(prepared.samples),
        classes=len(prepared.layout.class_names),
        queries=None if prepared.search is None else len(prepared.search.queries),
        metric=TOP_1 if prepared.search is None else MEAN_AVERAGE_PRECISION,
        notes=tuple(notes),
        unreadable=prepared.unreadable,
        seconds=Durations(
            **{part: watch.seconds.get(part, 0.0) for part in Durations.__dataclass_fields__}
        ),
    )


def _rows_of(
    prepared: PreparedComparison,
    subject: Subject,
    folder: Path | None,
    watch: Stopwatch,
    track: Track,
) -> tuple[list[MeasuredRow | LeftOutRow], tuple[str, ...]]:
    """Return a network's rows, and the maps that needed a pass of their own."""
    request = prepared.request
    kept = kept_maps(subject.candidates, for_pairs=request.spec.pairs > 0)
    images = images_of(prepared, subject, prepared.samples)
    batches = -(-len(prepared.samples) // request.batch_size)
    store = MapStore(batches, folder, is_kept=request.work is not None)
    with watch.of("passes"):
        own = keep_maps(subject, kept, store, images, device=prepared.device, track=track)
    how = Measuring(
        images=len(prepared.samples),
        memory_gib=request.spec.calibrate_memory,
        device=prepared.device,
        track=track,
        watch=watch,
        search=prepared.search,
    )
    fitting = Fitting(subject, store, how)
    pairs = PairSearch(fitting, len(subject.class_names)) if request.spec.pairs else None
    rows: list[MeasuredRow | LeftOutRow] = []
    for fit in fitting.every(subject.candidates):
        if isinstance(fit, FittedHead):
            if pairs is not None:
                pairs.add(fit)
            rows.append(measured_row(subject, fit, how))
        else:
            rows.append(fit)
    for fit in pairs.best(request.spec.pairs) if pairs is not None else ():
        rows.append(_checked_pair(subject, fit, images, how))
    return rows, own


def _checked_pair(
    subject: Subject, fit: FittedHead | LeftOutRow, images: ImagesOf, how: Measuring
) -> MeasuredRow | LeftOutRow:
    """Return the row of a head over two taps, which must pool in a network what it pools here."""
    if isinstance(fit, LeftOutRow):
        return fit
    if not is_as_converted(fit, images, how.device):
        reason = "Within the network it pools other maps: functions of the model change them."
        return without_row(subject, fit.candidate, reason)
    return measured_row(subject, fit, how)


def images_of(
    prepared: PreparedComparison, subject: Subject, samples: Sequence[Sample]
) -> ImagesOf:
    """Return images of the data set as a network takes them."""
    names = prepared.layout.class_names
    return ImagesOf(
        loader=partial(_loader, prepared.request, subject, samples),
        label_map=torch.tensor([subject.class_names.index(name) for name in names]),
    )


def _loader(
    request: CompareRequest, subject: Subject, samples: Sequence[Sample], batches: Sequence[int]
) -> ImageLoader:
    return evaluation_loader(
        samples,
        subject.opened.recipe.input,
        batch_size=request.batch_size,
        workers=request.workers,
        select_batches=lambda every: [every[number] for number in batches],
    )


def _folder(
    prepared: PreparedComparison, subject: Subject, num_bytes: int, stack: ExitStack
) -> Path:
    """Return the folder for a network's maps: in the work folder, or one that goes again."""
    work = prepared.request.work
    if work is None:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="covtool-maps-")))
    else:
        folder = work / subject_key(prepared, subject)
        with saving(folder):
            folder.mkdir(parents=True, exist_ok=True)
    there = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    require_room(folder / "maps", max(0, num_bytes - there))
    return folder


def _judged(
    prepared: PreparedComparison, measured: Sequence[MeasuredRow]
) -> tuple[ComparedRow, ...]:
    values = torch.stack([row.values for row in measured])
    # Images of one identity are easy or hard together: identities are resampled.
    groups = prepared.search.groups if prepared.search is not None else None
    costs = [
        (row.costs.gflops, row.candidate.plan.in_features, row.costs.ms_per_image)
        for row in measured
    ]
    rows = [
        ComparedRow(
            checkpoint=row.subject.name,
            img_size=row.subject.img_size,
            taps=tuple(tap.path for tap in row.candidate.plan.taps),
            head=row.candidate.plan.spec,
            label=row.candidate.label,
            figure=row.figure,
            interval=judged.interval,
            difference=judged.difference,
            difference_interval=judged.difference_interval,
            rank_1=row.rank_1,
            left_out_loss=row.left_out_loss,
            projected_to=row.projected_to,
            features=row.candidate.plan.in_features,
            parameters=row.costs.parameters,
            gflops=row.costs.gflops,
            ms_per_image=row.costs.ms_per_image,
            memory_mib=row.costs.memory_mib,
            near_best=judged.near_best,
            on_front=judged.on_front,
            recommended=judged.recommended,
            command=convert_command(prepared.request, row.subject, row.candidate.spec),
        )
        for row, judged in zip(measured, judge(values, costs, groups=groups), strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.figure, row.gflops, row.features)))


def _on_own_pass(subject: Subject, name: str) -> str:
    return (
        f"{subject.prefix}{name}: what is pooled is not the module's output, since functions of "
        "the model's own code follow it; the map was taken from a converted network, in a pass of "
        "its own."
    )

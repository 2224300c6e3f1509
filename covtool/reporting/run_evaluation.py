"""The evaluation of a run's best model on the images that the run was judged by, as on its page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covtool.data.datasets.layout import DataLayout
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.evaluation.retrieve import RetrievalRequest, retrieve
from covtool.pages import Section
from covtool.pages.records import Block
from covtool.progress import Track, silent
from covtool.reporting.evaluation_page import (
    evaluation_files,
    evaluation_head,
    evaluation_sections,
    measured_on,
    with_nearest,
)
from covtool.reporting.looking import look_of
from covtool.reporting.retrieval_page import search_head, search_sections, searched_in
from covtool.reporting.retrieval_subject import KEPT, RetrievalSubject
from covtool.reporting.subjects import Subject
from covtool.run_files import EXPORTED
from covtool.specs import RetrievalSpec
from covtool.specs.finetuning import FinetuneRequest
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import SilentObserver
from covtool.training.start.prepare import read_layout
from covtool.training.start.resume import images_of_run
from covtool.training.start.revisiting import request_of_run

Evaluated = Subject | RetrievalSubject

BEST = Path(EXPORTED) / "best.safetensors"
"""The model that is evaluated, in the folder of its run."""


def evaluated_run(
    run: Path,
    *,
    device: str,
    batch_size: int = 32,
    workers: int | None = None,
    track: Track = silent,
) -> Evaluated:
    """Evaluate the best model of a run on its validation images, those in its list of images.

    A run that was judged by a search is judged so again, as exactly.

    Args:
        run: Folder of the run, finished or not.
        device: See `EvaluationRequest`, as for the next two.
        batch_size: Images per batch.
        workers: Processes that load images; None for as many as the run had.
        track: Display of the progress.

    Raises:
        ArgumentError: The run's settings cannot be read, or there is no such device.
        CheckpointError: The run has no best model, or it cannot be opened.
        DataError: The images are gone.
    """
    asked = request_of_run(run)
    layout = _layout(run, asked)
    model = str(run / BEST)
    shared: dict[str, Any] = {
        "source": model,
        "batch_size": batch_size,
        "workers": asked.training.workers if workers is None else workers,
        "device": device,
        "on_bad_image": "skip",  # the run may have left them out as well; the page says so
        "layout": asked.layout,
    }
    if layout.searched is not None:
        spec = RetrievalSpec(**asked.search.model_dump())
        search = RetrievalRequest(data=layout.root, spec=spec, keep=KEPT, by_camera=True, **shared)
        found = retrieve(search, layout=layout.searched, track=track)
        return RetrievalSubject(done=found, model=model)
    request = EvaluationRequest(data=layout.root, split="val", keep_answers=True, **shared)
    done = evaluate(request, layout=layout, track=track)
    return Subject(done=done, model=model, look=look_of(done.opened))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationParts:
    """What an evaluation adds to a page.

    Attributes:
        words: Sentence on the model and its images.
        head: Head line, and what belongs to it.
        sections: Its sections.
        files: What writes the files beside the page, by their names.
    """

    words: str
    head: Sequence[Block]
    sections: Sequence[Section]
    files: Mapping[str, Callable[[Path], None]]


def parts_of(evaluated: Evaluated) -> EvaluationParts:
    """Return what an evaluation adds to the page of its run.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    if isinstance(evaluated, RetrievalSubject):
        return EvaluationParts(
            words=f"{evaluated.model} on {searched_in(evaluated)}, which the run was judged by.",
            head=search_head(evaluated),
            sections=search_sections(evaluated),
            files={},
        )
    evaluated = with_nearest(evaluated)
    return EvaluationParts(
        words=f"{evaluated.model} on {measured_on(evaluated)}, which the run was judged by.",
        head=evaluation_head(evaluated),
        sections=evaluation_sections(evaluated),
        files=evaluation_files(evaluated),
    )


def _layout(run: Path, request: FinetuneRequest) -> DataLayout:
    """Return the images of a run, without those that it left out."""
    found = images_of_run(RunDirectory(run), request)
    if found is None:  # no list: the images are in archives, which are read as the run read them
        return read_layout(request, SilentObserver())
    layout, left_out = found
    if not left_out:
        return layout
    kept = {
        key: [sample for sample in samples if sample.path not in left_out]
        for key, samples in layout.splits.items()
    }
    return replace(layout, splits=kept)

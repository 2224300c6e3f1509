"""The evaluation of a run's best model on the images that the run was judged by."""

from dataclasses import replace
from pathlib import Path

from covtool.data.datasets.layout import DataLayout
from covtool.errors import DataError
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.progress import Track, silent
from covtool.reporting.looking import look_of
from covtool.reporting.subjects import Subject
from covtool.run_files import EXPORTED
from covtool.specs.finetuning import FinetuneRequest
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import SilentObserver
from covtool.training.start.prepare import read_layout
from covtool.training.start.resume import images_of_run
from covtool.training.start.revisiting import request_of_run

BEST = Path(EXPORTED) / "best.safetensors"
"""The model that is evaluated, in the folder of its run."""


def evaluated_run(
    run: Path,
    *,
    device: str,
    batch_size: int = 32,
    workers: int | None = None,
    track: Track = silent,
) -> Subject:
    """Evaluate the best model of a run on its validation images, those in its list of images.

    Args:
        run: Folder of the run, finished or not.
        device: See `EvaluationRequest`, as for the next two.
        batch_size: Images per batch.
        workers: Processes that load images; None for as many as the run had.
        track: Display of the progress.

    Raises:
        ArgumentError: The run's settings cannot be read, or there is no such device.
        CheckpointError: The run has no best model, or it cannot be opened.
        DataError: The images are gone, or the run was judged by a search.
    """
    asked = request_of_run(run)
    layout = _layout(run, asked)
    if layout.searched is not None:
        raise DataError(
            "The run was judged by a search, which has a page of its own.",
            hint=f"covtool evaluate {run} --data DIR --report DIR writes it.",
        )
    request = EvaluationRequest(
        source=str(run / BEST),
        data=layout.root,
        split="val",
        batch_size=batch_size,
        workers=asked.training.workers if workers is None else workers,
        device=device,
        on_bad_image="skip",  # the run may have left them out as well; the page says so
        layout=asked.layout,
        keep_answers=True,
    )
    done = evaluate(request, layout=layout, track=track)
    return Subject(done=done, model=str(run / BEST), look=look_of(done.opened))


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

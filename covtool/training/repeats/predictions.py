"""What the images of a fold are taken for by the model that has not trained on them."""

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from covtool.backbones.device import resolve_device
from covtool.checkpoints.model_file import load
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.layout import DataLayout, in_order_of
from covtool.data.loading.loaders import evaluation_loader
from covtool.data.loading.worker_death import translate_worker_death
from covtool.evaluation.classification.accuracy import evaluate_classification
from covtool.full_paths import relative_name
from covtool.processes import Processes
from covtool.run_files import PREDICTIONS
from covtool.specs import FinetuneRequest
from covtool.training.repeats.rows import BEST, write_rows
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import Observer

COLUMNS = ("path", "label", "predicted", "probability", "loss", "fold", "seed")
"""Columns of predictions.csv; the probability is that of the predicted class, the loss in nats."""

Answer = tuple[int, float, float]
"""A class, its probability, and the negative log-likelihood of the right one."""


def write_predictions(
    run: RunDirectory,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
) -> None:
    """Write what the best model of a run answers to the images of its fold.

    All processes must call this.

    Args:
        run: Folder of the run, which is complete.
        request: Settings of the run.
        layout: Data set of the run.
        observer: Observer that shows the progress.
        processes: Processes that have a part of the images each.

    Raises:
        CheckpointError: The model cannot be read.
        DataError: An image cannot be read.
        SaveError: The file cannot be written.
    """
    training = request.training
    model = load(run.exported(BEST))
    layout = in_order_of(layout, model.recipe.class_names or ())
    samples: Sequence = layout.samples("val")
    if training.on_bad_image == "skip":  # else the run has refused them
        samples = check_images(samples, on_bad_image="skip", processes=processes).good
    scores = model.recipe.scores
    answers = _Answers(1.0 if scores is None else scores.temperature)
    device = resolve_device(training.device, processes)
    loader = evaluation_loader(
        samples,
        model.recipe.input,
        batch_size=training.batch_size,
        workers=training.workers,
        device=device,
        select_batches=processes.part_of,
    )
    with translate_worker_death(training.workers):
        evaluate_classification(
            model,
            loader,
            class_names=layout.class_names,
            device=device,
            track=observer.track,
            keep=answers,
            processes=processes,
        )
    parts = processes.each(lambda: answers.found)
    found = [answer for part in parts for answer in part]
    rows = _rows(layout, samples, found, request)
    processes.main(lambda: write_rows(run.path / PREDICTIONS, COLUMNS, rows))


class _Answers:
    """A receiver of logits that keeps of each image what is written."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self.found: list[Answer] = []

    def add(self, logits: Tensor, targets: Tensor) -> None:
        logits, targets = logits.cpu(), targets.cpu()  # not every device has float64
        # Decided on the logits as they are: a division may make equals of two.
        predicted = logits.argmax(1)
        logs = torch.log_softmax(logits.double() / self._temperature, dim=1)
        of = [logs.gather(1, some[:, None])[:, 0] for some in (predicted, targets)]
        self.found += zip(predicted.tolist(), of[0].exp().tolist(), (-of[1]).tolist(), strict=True)


def _rows(
    layout: DataLayout, samples: Sequence, found: Sequence[Answer], request: FinetuneRequest
) -> Iterable[Sequence[object]]:
    names, whereabouts = layout.class_names, (request.repeats.fold, request.training.seed)
    for sample, (predicted, probability, loss) in zip(samples, found, strict=True):
        path = os.fspath(sample.path)
        place = path if layout.kind == "hfds" else relative_name(path, layout.folder)
        yield place, names[sample.label], names[predicted], probability, loss, *whereabouts

"""Answers of a classifier for images, both as a user names them."""

import hashlib
import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from covtool import __version__
from covtool.backbones.device import resolve_device
from covtool.backbones.module_modes import in_eval_mode
from covtool.checkpoints.opened import OpenedModel, require_trained_classifier
from covtool.checkpoints.tensor_checksum import checksum
from covtool.data.images.dim import note_on_dim
from covtool.data.images.orientation import note_on_turned
from covtool.errors import ArgumentError, DataError, InterruptedRunError
from covtool.evaluation.classification.held_out import note_on_chosen
from covtool.evaluation.evaluate import output_names
from covtool.prediction.image_inputs import ImageInput, ImageInputs, find_inputs
from covtool.prediction.outputs import OnPrediction, Outputs, Tally
from covtool.prediction.predictor import (
    Answers,
    Predictor,
    embedding_layer,
    scorer_for,
    transform_for,
)
from covtool.prediction.request import PredictionRequest, check_request
from covtool.prediction.row_file import Names, Settings, journal_of, partial_of
from covtool.prediction.rows import RowLayout
from covtool.prediction.streaming import StreamedImages, chunked, image_batches
from covtool.printable import first_few, printable
from covtool.processes import Processes, joined
from covtool.progress import Track, main_only, silent
from covtool.specs import InputSpec, PredictionSpec, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult:
    """What `predict_images` did.

    Attributes:
        tally: Counts of the images, and the first that cannot be read.
        num_classes: Outputs of the model.
        files: Files that were written.
        device: Device that the model ran on.
        input: Preparation of the images.
        temperature: Number that logits were divided by; None where none was chosen.
        far_from_training: Whether the images are so far from what the file was made for that the
            answers say little.
        notes: Assumptions about model and images.
    """

    tally: Tally
    num_classes: int
    files: tuple[Path, ...]
    device: str
    input: InputSpec
    temperature: float | None
    far_from_training: bool
    notes: tuple[str, ...]


def predict_images(
    request: PredictionRequest, *, on_prediction: OnPrediction | None = None, track: Track = silent
) -> PredictionResult:
    """Run a classifier over images, one batch after the other.

    Batches are cut as an evaluation cuts them: logits are the same to the last bit. Memory does not
    grow with the number of images, but for the labels of `PredictionRequest.embeddings`. Of several
    processes each works on every n-th batch, and the main one writes them all, in order.

    Args:
        request: Model, images and outputs.
        on_prediction: Called with each answer, in order; not with those of an earlier call.
        track: Display of the progress, batch by batch.

    Raises:
        ArgumentError: A file cannot be written, there is no such device, or what is resumed was
            begun otherwise.
        OutputExistsError: A file is there, and may not be replaced.
        DataError: An argument stands for no image, or the images have changed meanwhile.
        CheckpointError: The model cannot be opened, or its classifier is random.
        NonFiniteError: An answer is not made of finite numbers.
        InterruptedRunError: Ctrl-C or a signal; the output can be resumed.
    """
    check_request(request)
    try:
        with joined(timeout_s=request.launch.dist_timeout) as processes:
            shown = main_only(track, is_main=processes.is_main)
            return _predict(request, on_prediction, processes, shown)
    except KeyboardInterrupt:
        if request.output is None or not journal_of(request.output).exists():
            raise
        raise _interrupted(request) from None


def _predict(
    request: PredictionRequest,
    on_prediction: OnPrediction | None,
    processes: Processes,
    track: Track,
) -> PredictionResult:
    inputs = find_inputs(request.images)
    if inputs.from_stdin and processes.world > 1:
        raise ArgumentError(
            "Several processes cannot share the standard input.",
            hint="Write the paths into a file, and name that: paths.txt.",
        )
    device = resolve_device(request.device, processes)
    opened = request.open()
    require_trained_classifier(request.source.name, opened.recipe)
    names = output_names(opened.recipe, request.class_names)
    known = tuple(map(str, range(opened.recipe.num_classes))) if names is None else names
    predictor = _predictor(request, opened, device)
    has_distance = predictor.scorer is not None
    layout = RowLayout(names=known, spec=request.spec, has_distance=has_distance)
    outputs = Outputs(request, layout, inputs, on_prediction)
    work = _Work(request, inputs, predictor, processes)
    with ExitStack() as stack:
        stack.enter_context(predictor.scorer or nullcontext())
        stack.enter_context(in_eval_mode(work.predictor.model))
        work.run(outputs, stack, work.settings(layout), track)
    processes.main(outputs.draw_sheet)
    map_notes = processes.main(lambda: outputs.draw_maps(work.predictor))
    tally = processes.main(lambda: outputs.tally)
    return PredictionResult(
        tally=tally,
        num_classes=opened.recipe.num_classes,
        files=request.files,
        device=str(device),
        input=opened.recipe.input,
        temperature=None if opened.recipe.scores is None else work.predictor.temperature,
        far_from_training=opened.is_far,
        notes=(
            *opened.notes,
            *inputs.notes,
            *map_notes,
            *notes_on_answers(opened.recipe, request.spec, named=names is not None),
            *filter(
                None,
                (
                    note_on_turned(tally.turned, exif=opened.recipe.input.exif),
                    note_on_dim(tally.dim),
                    _note_on_changed(tally),
                ),
            ),
        ),
    )


def notes_on_answers(recipe: Recipe, spec: PredictionSpec, *, named: bool) -> Iterator[str]:
    """Yield notes on what classes and probabilities mean.

    Args:
        recipe: Recipe of the model.
        spec: Choice of the answers.
        named: Whether the names of the outputs are known.
    """
    if not named:
        yield (
            "The names of the model's classes are not known: classes are the numbers of its "
            "outputs, from 0 (--class-names FILE names them)."
        )
    if recipe.num_classes == 1:
        yield "The model has a single output: its probability is 1 for whatever image."
    twice = [name for name, count in Counter(recipe.class_names or ()).items() if count > 1]
    if twice and named:
        shown = first_few(twice, 3, show=printable)
        yield (
            f"Several outputs of the model have the same name: {shown}. --class-names FILE gives "
            "them others."
        )
    scores = recipe.scores
    if scores is not None:
        yield (
            f"Probabilities are those of the logits divided by {scores.temperature:.4g}, which "
            f"was chosen on {scores.images:,} images of {scores.data}."
        )
        if (doubt := note_on_chosen(scores)) is not None:
            yield doubt
    else:
        doubt = (
            ""
            if spec.threshold is None
            else f" Of the answers above {spec.threshold:g}, more or fewer may be right."
        )
        yield (
            "Probabilities are not calibrated: the model's file has no temperature for "
            f"predictions, which covtool finetune and convert --calibrate choose.{doubt}"
        )


def _note_on_changed(tally: Tally) -> str | None:
    if not tally.changed:
        return None
    return (
        f"Of the {tally.resumed:,} images that were done before, the files of {tally.changed:,} "
        "have changed since. Their rows are of what they were; --overwrite looks at all anew."
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """A pass over the images, of which this process has a share."""

    request: PredictionRequest
    inputs: ImageInputs
    predictor: Predictor
    processes: Processes

    def run(self, outputs: Outputs, stack: ExitStack, settings: Settings, track: Track) -> None:
        """Fill the outputs, whose files are finished when the stack ends."""
        done = self.processes.main(lambda: outputs.begin(stack, settings))
        images = _Drawn(iter(self.inputs))
        outputs.skip(islice(images, done.images), done)
        # Around the whole loop, as an evaluation has it.
        with self.request.autocast(self.predictor.device):
            for answers in self.processes.interleaved(self._answers(images, done.images, track)):
                outputs.take(answers)
        self.processes.main(lambda: _require_all(outputs, images.names))

    def _answers(self, images: Iterator[ImageInput], done: int, track: Track) -> Iterator[Answers]:
        """Yield the answers for this process's batches."""
        size, world = self.request.batch_size, self.processes.world
        # Every process goes through all names: none has to tell another which images are whose.
        own = islice(chunked(images, size), self.processes.rank, None, world)
        count = self._own_batches(done)
        recipe = self.predictor.recipe
        dataset = StreamedImages(
            self.inputs.records, recipe.input, transform_for(recipe, self.request.spec)
        )
        batches = image_batches(dataset, own, count=count, workers=self.request.workers)
        yield from map(self.predictor, track(batches, "predicting", count))

    def _own_batches(self, done: int) -> int | None:
        if self.inputs.count is None:
            return None
        total = -(-max(0, self.inputs.count - done) // self.request.batch_size)
        return len(range(self.processes.rank, total, self.processes.world))

    def settings(self, layout: RowLayout) -> Settings:
        """Return what decides the rows, by the name that a message has for it."""
        asked, recipe = self.request, self.predictor.recipe
        return {
            # Of equal weights, another version may round otherwise, and have other columns.
            "version of covtool": __version__,
            "version of torch": torch.__version__,
            "model": checksum(self.predictor.model.state_dict()),
            "set of training embeddings": self._embeddings_checksum(),
            "preparation": recipe.input.model_dump(mode="json"),
            "temperature": self.predictor.temperature,
            "choice of answers": asked.spec.model_dump(mode="json"),
            "list of class names": _digest(layout.names),
            "list of columns": _digest(layout.columns),
            "batch size": asked.batch_size,
            "precision": asked.amp_dtype if asked.amp else "float32",
            "device": self.predictor.device.type,
            "treatment of unreadable images": asked.on_bad_image,
        }

    def _embeddings_checksum(self) -> str | None:
        scorer = self.predictor.scorer
        if scorer is None:
            return None
        return f"{checksum(scorer.neighbors.tensors)}, nearest {scorer.spec.nearest}"


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()


class _Drawn(Iterator[ImageInput]):
    """Images with a digest of the names of those that were drawn."""

    def __init__(self, images: Iterator[ImageInput]) -> None:
        self._images, self.names = images, Names()

    def __next__(self) -> ImageInput:
        image = next(self._images)
        self.names.add([image])
        return image


def _predictor(request: PredictionRequest, opened: OpenedModel, device: torch.device) -> Predictor:
    layer = None
    if request.embeddings is not None:
        layer = embedding_layer(opened.model, opened.recipe)
    transform_for(opened.recipe, request.spec)  # refused before anything is written
    return Predictor(
        model=opened.model.to(device),
        recipe=opened.recipe,
        spec=request.spec,
        device=device,
        layer=layer,
        scorer=scorer_for(opened.model, request.spec),
    )


def _require_all(outputs: Outputs, drawn: Names) -> None:
    """Refuse no images at all, and that processes saw other ones, as of a folder that changed."""
    if not outputs.tally.images:  # of the standard input, this is not known before
        raise DataError("There are no images on the standard input.")
    if str(outputs.names) != str(drawn):
        raise DataError(
            "The images have changed while they were looked at: the processes saw other ones.",
            hint="Begin anew with --overwrite, once nothing changes any more.",
        )


def _interrupted(request: PredictionRequest) -> InterruptedRunError:
    partial = partial_of(request.output)
    hint = "Go on with the same command and --resume."
    if request.embeddings is not None:
        hint = "Begin anew with --overwrite; without --embeddings, --resume goes on."
    return InterruptedRunError(
        f"Interrupted. What was done lies in whole rows in {partial}.",
        signal_number=signal.SIGINT,
        hint=hint,
    )

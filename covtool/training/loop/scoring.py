"""Scores of the exported models of a run: temperature, training embeddings."""

import torch

from covtool.checkpoints.model_file import assemble, read_recipe, save
from covtool.checkpoints.tensor_files import read_tensors
from covtool.checkpoints.verifying import reopened, require_same_answers
from covtool.evaluation.classification.held_out import (
    HeldOutLogits,
    note_on_temperature,
    score_spec,
)
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.keeping import KeptSource, keep_neighbors_
from covtool.ops.temperature import TemperatureFit, fit_held_out
from covtool.processes import Processes
from covtool.specs import FeatureSpec, ScoreSpec
from covtool.training.parts.assembly import Parts
from covtool.training.run.directory import MODELS
from covtool.training.run.records import EpochResult
from covtool.training.run.run import Run


def held_out_logits(parts: Parts) -> HeldOutLogits | None:
    """Return a receiver of validation logits; None where nothing trains the classifier."""
    if not parts.request.objective.needs("logits"):
        return None
    return HeldOutLogits(len(parts.data.validation), parts.recipe.num_classes)


def temperature_of(kept: HeldOutLogits | None, processes: Processes) -> TemperatureFit | None:
    """Return the temperature that validation logits give; all processes must call this.

    Args:
        kept: This process's logits; None for no temperature.
        processes: Processes that have a part of the images each, in order.
    """
    if kept is None:
        return None
    parts = processes.each(lambda: (kept.logits, kept.labels))
    return processes.main(
        lambda: fit_held_out(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    )


def scores_of(result: EpochResult | None, data: tuple[str, str]) -> ScoreSpec | None:
    """Return the scores of the weights that `result` measured; None where nothing was."""
    fit = None if result is None else result.temperature
    return score_spec(fit, "validation", " ".join(data))


def finish_exports(run: Run) -> None:
    """Keep training embeddings in the exported models, where asked for, and note on their scores.

    At the end of a run, once for each file. A run that is killed meanwhile has whole files, and
    resuming it adds what is missing. All processes must call this.

    Raises:
        DataError: A training image cannot be read any more.
        SaveError: A file cannot be written.
        VerificationError: It does not hold what it should.
    """
    if run.parts.training.keep_neighbors:
        for name in MODELS:
            _keep_neighbors(run, name)
    if run.parts.data.searched is not None:
        return
    for note in run.parts.processes.main(lambda: _notes(run)):
        run.observer.on_note(note)


def _keep_neighbors(run: Run, name: str) -> None:
    parts, path = run.parts, run.directory.exported(name)
    processes = parts.processes
    found = processes.main(
        lambda: (read_recipe(path), read_tensors(path)[0]) if path.exists() else None
    )
    if found is None or found[0].neighbors is not None:
        return
    # Training goes on elsewhere with the same numbers: a model is built with random weights.
    with torch.random.fork_rng(devices=[]):
        model = assemble(*found, path)
    extractor = FeatureExtractor.of(
        model,
        model.recipe.input,
        FeatureSpec(),
        batch_size=parts.training.batch_size,
        workers=parts.training.workers,
        device=parts.device,
        processes=processes,
    )
    root = parts.data.root
    source = KeptSource(
        name=f"{run.data[0]} train",
        folder=root if root.is_dir() else root.parent,
        class_names=model.recipe.class_names,
    )
    keep_neighbors_(extractor, parts.data.training, source, track=run.observer.track)
    model.cpu()

    def write() -> None:
        save(
            model,
            path,
            overwrite=True,
            verify=lambda written: require_same_answers(reopened(written), model),
        )

    processes.main(write)


def _notes(run: Run) -> tuple[str, ...]:
    path = run.directory.exported("best")
    if not path.exists():
        return ()
    scores = read_recipe(path).scores
    if scores is None and not run.parts.request.objective.needs("logits"):
        note = "The classifier is not trained: no temperature of predictions is chosen."
    else:
        note = note_on_temperature(scores)
    return () if note is None else (note,)

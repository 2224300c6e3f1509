"""A model becomes a program that runs without covtool."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from covtool.atomic import require_room, written_whole
from covtool.atomic.endings import tidied_up_when_ended
from covtool.checkpoints.opened import OpenedModel, require_trained_classifier
from covtool.checkpoints.opening import open_model
from covtool.errors import SurgeryError, VerificationError
from covtool.evaluation.classification.held_out import note_on_chosen
from covtool.exporting.checks import checked_format
from covtool.exporting.formats import Format
from covtool.exporting.job import Job, Reference
from covtool.exporting.metadata import metadata_of
from covtool.exporting.preparation import deployed, in_float32, interface_of, weights_dtype
from covtool.exporting.proving import (
    BATCH_SIZES,
    answers,
    compare,
    expected_answers,
    prove,
    require_close,
    speeds,
)
from covtool.exporting.quantizing import count_quantized
from covtool.exporting.records import (
    ITERATIONS,
    OPSET,
    ExportRequest,
    ExportResult,
    RootReplacement,
)
from covtool.exporting.samples import Images, images_of, random_images
from covtool.exporting.solvers import solvers_in, without_solvers
from covtool.progress import Track, silent


def export(request: ExportRequest, *, track: Track = silent) -> ExportResult:
    """Write a model as a program that runs without covtool, once it is proven.

    The file is run, by onnxruntime or torch, on images of a data set or on random ones, in batches
    of 1 and of 7, and compared with the model in torch; it gets its name only if both agree.

    Raises:
        ArgumentError: Options contradict each other or the format, a package is missing, the output
            cannot be written, or the model is too large for the format.
        OutputExistsError: The output exists.
        CheckpointError: The model cannot be opened, or its classifier is random.
        SurgeryError: The model cannot be exported: it needs a solver that the format lacks, say.
        DataError: The images cannot be read.
        NonFiniteError: The model's own logits are not finite numbers.
        VerificationError: The program differs by more than the tolerance.
    """
    row = checked_format(request)
    opened = open_model(request.source, track=track)
    require_trained_classifier(request.source.name, opened.recipe)
    if row.build is None:
        return _as_folder(request, opened, row, track)
    return _as_program(request, opened, row, track)


def _as_folder(
    request: ExportRequest, opened: OpenedModel, row: Format, track: Track
) -> ExportResult:
    # Late: what it needs of timm is more than a program does.
    from covtool.exporting.timm_folder import require_plain_timm, write_timm_folder

    require_plain_timm(opened.model)
    images = _images(request, opened, track)
    expected = expected_answers(in_float32(opened.model), images, track)
    proven: dict[str, Any] = {}

    def check(made: nn.Module) -> None:
        proven["proof"] = prove(made.float(), images.normalized, expected, images.data, track)
        proven["tolerance"] = require_close(proven["proof"], "float32", request.tolerance)

    folder = write_timm_folder(
        opened.model,
        request.output,
        overwrite=request.overwrite,
        check=check,
        assumptions=opened.assumptions,
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    return ExportResult(
        path=request.output,
        format=row.name,
        precision="float32",
        num_bytes=sum(path.stat().st_size for path in files),
        num_classes=opened.recipe.num_classes,
        temperature=_temperature(opened),
        unreadable=images.unreadable,
        notes=_notes(request, opened, images, None),
        **proven,
    )


def _as_program(
    request: ExportRequest, opened: OpenedModel, row: Format, track: Track
) -> ExportResult:
    images = _images(request, opened, track)
    calibration = _calibration(request, opened, track)
    if calibration is not None and request.data is None:
        images = calibration  # int8 is proven by answers, which random images do not have
    model, root = _without_solvers(request, opened, row, images)
    reference = Reference(
        model=model,
        recipe=opened.recipe.model_copy(update={"neighbors": None}),  # which are not exported
        images=images,
        expected=expected_answers(model, images, track),
        root=root,
    )
    job = Job(
        request=request,
        module=deployed(model, opened.recipe.input, request),
        interface=interface_of(opened.recipe.input, takes_pixels=request.preprocess),
        calibration=calibration,
    )
    require_room(request.output, _num_bytes(job.module) // (4 if request.int8 else 1))
    with tidied_up_when_ended(), TemporaryDirectory(prefix="covtool-") as folder:
        program = row.build(job, Path(folder))
    proven = _write_proven(row, job, program, reference, track)
    return ExportResult(
        path=request.output,
        format=row.name,
        precision=request.precision,
        num_bytes=request.output.stat().st_size,
        num_classes=opened.recipe.num_classes,
        interface=job.interface,
        opset=(request.opset or OPSET) if "opset" in row.takes else None,
        root=root,
        threads=torch.get_num_threads(),
        quantized=count_quantized(program) if request.int8 else 0,
        temperature=_temperature(opened),
        unreadable=(*images.unreadable, *_others(calibration, images)),
        notes=_notes(request, opened, images, calibration),
        **proven,
    )


def _write_proven(
    row: Format, job: Job, program: Any, reference: Reference, track: Track
) -> dict[str, Any]:
    """Write a program, run what was written, and give the file its name if the two agree."""
    request, images = job.request, reference.images
    given = images.given(as_pixels=job.interface.normalizes)
    with written_whole(request.output, overwrite=request.overwrite) as path:
        row.save(program, path, metadata_of(job, reference))
        run = row.reload(path)
        proof = prove(run, given, reference.expected, images.data, track)
        tolerance = require_close(proof, request.precision, request.tolerance)
        speed = speeds(reference.model, run, images, given)
        # Again, with the figures in it: the same program, which is run once more to be sure.
        few = given[: BATCH_SIZES[-1]]
        before = answers(run, few, BATCH_SIZES[-1])
        row.save(program, path, metadata_of(job, reference, proof))
        if not torch.equal(answers(row.reload(path), few, BATCH_SIZES[-1]), before):
            raise VerificationError("The file that was written answers differently each time.")
    return {"proof": proof, "tolerance": tolerance, "speed": speed}


def _without_solvers(
    request: ExportRequest, opened: OpenedModel, row: Format, images: Images
) -> tuple[nn.Module, RootReplacement | None]:
    """Return the model to export, with Newton-Schulz iterations where they are asked for.

    Raises:
        SurgeryError: The format has no solvers, or the model's has no Newton-Schulz form.
    """
    given = in_float32(opened.model)
    needed = solvers_in(given)
    if request.root is not None:
        if not needed:
            raise SurgeryError(
                "--root newton-schulz has no effect: the model needs no solver.",
                hint="Leave it out: it exports as it is.",
            )
        iterations = request.iterations or ITERATIONS
        model, replaced = without_solvers(given, needed, iterations)
        exact = expected_answers(given, images)
        size = BATCH_SIZES[-1]
        loss = compare(exact, {size: expected_answers(model, images)}, images.data)
        return model, RootReplacement(heads=replaced, iterations=iterations, loss=loss)
    if needed and not row.has_solvers:
        path, solver = next(iter(needed.items()))
        raise SurgeryError(
            f"{path} needs {solver}, which {row.name} does not have.",
            reason="Runtimes of ONNX have no eigendecomposition and no solver of linear systems.",
            hint="Add --root newton-schulz to iterate in its place, or export as .pt2.",
        )
    return given, None


def _images(request: ExportRequest, opened: OpenedModel, track: Track) -> Images:
    if request.data is None:
        return random_images(opened.recipe.input)
    return images_of(
        request.data,
        opened.recipe.input,
        request.images,
        held_out=True,
        on_bad_image=request.on_bad_image,
        track=track,
    )


def _calibration(request: ExportRequest, opened: OpenedModel, track: Track) -> Images | None:
    if request.calibrate is None:
        return None
    return images_of(
        request.calibrate,
        opened.recipe.input,
        request.images,
        held_out=False,
        on_bad_image=request.on_bad_image,
        track=track,
    )


def _others(calibration: Images | None, images: Images) -> tuple[tuple[Path, str], ...]:
    return () if calibration is None or calibration is images else calibration.unreadable


def _notes(
    request: ExportRequest, opened: OpenedModel, images: Images, calibration: Images | None
) -> tuple[str, ...]:
    notes = [*opened.notes, *images.notes]
    if calibration is not None and calibration is not images:
        notes.extend(calibration.notes)
    if calibration is images:
        notes.append(
            "The program is compared on the images that it was calibrated on; --data DIR names "
            "others."
        )
    elif request.data is None:
        notes.append(
            "What was written is compared on random images, which say nothing about its answers; "
            "--data DIR names real ones."
        )
    dtype = weights_dtype(opened.model)
    if dtype is not torch.float32:
        name = str(dtype).removeprefix("torch.")
        notes.append(f"The weights in the file are {name}; the model is taken in float32.")
    if (doubt := note_on_chosen(opened.recipe.scores)) is not None:
        notes.append(doubt)
    if opened.recipe.neighbors is not None:
        notes.append("The training embeddings in the file are not exported.")
    return tuple(dict.fromkeys(notes))


def _temperature(opened: OpenedModel) -> float | None:
    scores = opened.recipe.scores
    return None if scores is None else scores.temperature


def _num_bytes(module: nn.Module) -> int:
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

"""A checkpoint of a re-identification code base becomes the network that it is of."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, nn

from covtool.backbones.classifier import find_classifier
from covtool.backbones.create import create_model
from covtool.checkpoints.building import DEFAULT_CLASSES, load_exactly_
from covtool.checkpoints.code_bases.misfits import read_or_none
from covtool.checkpoints.containers import MOST_WRAPPERS
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.published import PublishedModel
from covtool.checkpoints.reid.bodies import Body, find_body
from covtool.checkpoints.reid.code_bases import CODE_BASES, NOT_REBUILT, NotRebuilt, ReidCodeBase
from covtool.checkpoints.reid.network import ReidNetwork
from covtool.checkpoints.reid.notes import notes_on
from covtool.checkpoints.reid.stem_statistics import has_first_relu
from covtool.errors import SurgeryError, UnrecognizedCheckpointError
from covtool.layers.global_pooling import GlobalPooling
from covtool.specs import (
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    InstanceBatchNormSpec,
    LastStrideSpec,
    NeckSpec,
    Operation,
    PatchStrideSpec,
    StemSpec,
)
from covtool.surgery.eigenlayer import eigenlayer_path
from covtool.surgery.neck import neck_path
from covtool.surgery.rebuild import operate

_HALF = 0.5  # of the tensors have what wrappers put before the names
_HEADS = {"gem": "gem", "max": "gmp"}


def open_reid(checkpoint: ForeignCheckpoint, *, arch: str | None = None) -> PublishedModel | None:
    """Return the re-identification network that a checkpoint is of; None where it is of none.

    Args:
        checkpoint: Any checkpoint.
        arch: Architecture of the backbone, where it is known. A network that cannot be rebuilt is
            none then, so that its backbone can be read alone.

    Raises:
        UnrecognizedCheckpointError: The code base is known, and the network is one that cannot be
            rebuilt.
    """
    if checkpoint.recipe is not None:
        return None
    readings = [checkpoint.with_prefix(prefix) for prefix in _prefixes(checkpoint)]
    for reading in readings:
        # Networks that are refused have the names of a code base that is read, and more.
        refused = next((row for row in NOT_REBUILT if row.is_of(reading.state)), None)
        if refused is not None:
            if arch is not None:
                return None
            raise _not_rebuilt(checkpoint, refused)
        row = next((row for row in CODE_BASES if _is_of(row, reading)), None)
        if row is not None:
            return _opened(reading, row, arch)
    return None


def _prefixes(checkpoint: ForeignCheckpoint) -> list[str]:
    """Return what wrappers may have put before the names, from nothing on."""
    # Any name may be a wrapper's here: whose file it is, the signs of the code bases decide.
    prefixes, names = [""], list(checkpoint.tensors)
    while names and len(prefixes) <= MOST_WRAPPERS:
        found = Counter(n.partition(".")[0] for n in names if "." in n).most_common(1)
        if not found or found[0][1] < _HALF * len(checkpoint.tensors):
            break
        first = f"{found[0][0]}."
        prefixes.append(prefixes[-1] + first)
        names = [n.removeprefix(first) for n in names if n.startswith(first)]
    return prefixes


def _opened(
    checkpoint: ForeignCheckpoint, row: ReidCodeBase, arch: str | None
) -> PublishedModel | None:
    network = read_or_none(lambda: row.read(checkpoint.state, checkpoint))
    if network is not None and network.power is not None and network.power.numel() != 1:
        network = None  # a power for each channel
    named = checkpoint.stated_architecture
    body = network and find_body(network.body, arch=arch, named=named)
    if network is None or body is None:
        if arch is not None:
            return None
        raise _unknown_part(checkpoint, row, "neck" if network is None else "backbone")
    if network.may_lack_relu and network.has_relu is None:
        has_relu = read_or_none(lambda: has_first_relu(body.tensors))
        network = replace(network, has_relu=has_relu)
    images = network.images
    if body.size is not None:
        images = images.model_copy(update={"size": body.size})
    operations = tuple(_operations(network, body))
    return _built(checkpoint, row, network, body, operations, images)


def _is_of(row: ReidCodeBase, reading: ForeignCheckpoint) -> bool:
    return bool(read_or_none(lambda: row.is_of(reading.state, reading)))


def _operations(network: ReidNetwork, body: Body) -> Iterator[Operation]:
    if body.ibn_layers:
        yield InstanceBatchNormSpec(layers=body.ibn_layers)
    if body.patch_stride is not None:
        yield PatchStrideSpec(stride=body.patch_stride)
    plain_stem = {"conv1.weight", "bn1.weight", "layer4.0.conv1.weight"} <= set(body.tensors)
    lacks_relu = network.may_lack_relu and network.has_relu is False
    if plain_stem and (lacks_relu or network.unpadded):
        yield StemSpec(
            activation="none" if lacks_relu else "keep",
            max_pooling="unpadded" if network.unpadded else "keep",
        )
    if network.last_stride == 1 and body.size is None:
        yield LastStrideSpec()
    if network.pooling in _HEADS:
        yield HeadSpec(head=_HEADS[network.pooling], reduction="none")
    # The classifier behind a neck has no bias, as a rule: the operation builds both.
    has_bias = "bias" in network.classifier
    if network.neck.layers or (network.classifier and not has_bias):
        yield NeckSpec(
            layers=network.neck.layers,
            features=network.neck.features,
            classifier_bias=has_bias,
        )
    if network.eigenlayer is not None:
        # Random, as the file's vectors replace them.
        yield EigenlayerSpec(features=len(network.eigenlayer), init="random")


def _built(
    checkpoint: ForeignCheckpoint,
    row: ReidCodeBase,
    network: ReidNetwork,
    body: Body,
    operations: tuple[Operation, ...],
    images: InputSpec,
) -> PublishedModel:
    weight = network.classifier.get("weight")
    classes = DEFAULT_CLASSES if weight is None else len(weight)
    model = create_model(body.base, num_classes=classes)
    try:
        for operation in operations:
            model = operate(model, operation, images, num_classes=classes)
    except SurgeryError as problem:
        raise _not_made(checkpoint, row, body, problem) from problem
    classifier = find_classifier(model, images.size, images.channels)
    tensors = dict(body.tensors) | _head_tensors(model, network)
    tensors |= {f"{classifier}.{name}": t for name, t in network.classifier.items()}
    fresh = () if network.classifier else (f"{classifier}.",)
    load_exactly_(model, tensors, fresh, checkpoint)
    checkpoint = _without_unused(checkpoint, network, body)
    return PublishedModel(
        model=model.eval(),
        base=body.base,
        operations=operations,
        num_classes=classes,
        input=images,
        checkpoint=checkpoint,
        notes=tuple(notes_on(checkpoint, row, network, body, images)),
        has_classifier=bool(network.classifier),
    )


def _head_tensors(model: nn.Module, network: ReidNetwork) -> dict[str, Tensor]:
    """Return tensors between the backbone and the classifier, under the model's names."""
    tensors = {f"{neck_path(model)}.{name}": t for name, t in network.neck.tensors.items()}
    if network.power is not None:
        pooling = next(n for n, m in model.named_modules() if isinstance(m, GlobalPooling))
        tensors[f"{pooling}.power"] = network.power.reshape(1)
    if network.eigenlayer is not None:
        tensors[f"{eigenlayer_path(model)}.weight"] = network.eigenlayer
    return tensors


def _without_unused(
    checkpoint: ForeignCheckpoint, network: ReidNetwork, body: Body
) -> ForeignCheckpoint:
    """Return the checkpoint without what the network does not use, which become ignored entries."""
    used = [*body.tensors.values(), *network.classifier.values(), network.power, network.eigenlayer]
    used += [*network.neck.tensors.values(), *network.settings.values()]
    # By their storage, as the network has them under other names than the file.
    places = {t.data_ptr() for t in used if t is not None}
    unused = {
        name: None
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(checkpoint.prefix) and tensor.data_ptr() not in places
    }
    kept = {name: t for name, t in checkpoint.tensors.items() if name not in unused}
    return replace(checkpoint, tensors=kept, not_tensors=(*unused, *checkpoint.not_tensors))


def _not_rebuilt(checkpoint: ForeignCheckpoint, row: NotRebuilt) -> UnrecognizedCheckpointError:
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} is of {row.name}, which covtool does not rebuild.",
        reason=row.reason,
        hint=row.hint,
    )


def _not_made(
    checkpoint: ForeignCheckpoint, row: ReidCodeBase, body: Body, problem: SurgeryError
) -> UnrecognizedCheckpointError:
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} is of {row.name}, which cannot be made of {body.base.name}.",
        reason=problem.message,
        hint="Name another architecture of the same tensors with --arch, if there is one.",
    )


def _unknown_part(
    checkpoint: ForeignCheckpoint, row: ReidCodeBase, part: str
) -> UnrecognizedCheckpointError:
    what = {
        "neck": "Its pooling, or what follows it before the classifier, is not what is published.",
        "backbone": "Its backbone is none of timm's architectures, not with half instance norms "
        "(IBN-Net a) either.",
    }
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} is of {row.name}, and its {part} cannot be rebuilt.",
        reason=what[part],
        hint="Compute features with its own code, and give them to covtool evaluate "
        "--distances-from FILE; or name the backbone with --arch NAME to read it alone.",
    )

"""Notes on a re-identification network: what was recognized, and what was assumed."""

from collections.abc import Iterator

from covtool.checkpoints.building import ignored_note, precision_note
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.reid.bodies import Body
from covtool.checkpoints.reid.code_bases import ReidCodeBase
from covtool.checkpoints.reid.network import ReidNetwork
from covtool.specs import InputSpec

_POOLINGS = {"avg": "average pooling", "max": "max pooling", "gem": "generalized mean pooling"}
_NECK = {
    "linear": "a linear layer",
    "linear-without-bias": "a linear layer without bias",
    "batchnorm": "a batch norm",
    "relu": "a ReLU",
}


def notes_on(
    checkpoint: ForeignCheckpoint,
    row: ReidCodeBase,
    network: ReidNetwork,
    body: Body,
    images: InputSpec,
) -> Iterator[str]:
    """Yield the notes on an opened network, in order."""
    yield _recognized(row, network, body)
    if row.for_retrieval:
        yield _assumed(network, body, images)
        yield from _feature(network)
    yield from _first_relu(network)
    yield from network.notes
    if not network.classifier:
        yield "The file has no classifier: a new one, at random."
    others = precision_note(body.tensors), ignored_note(checkpoint)
    yield from filter(None, others)


def _recognized(row: ReidCodeBase, network: ReidNetwork, body: Body) -> str:
    kind = " of IBN-Net (a)" if body.ibn_layers else ""
    parts = [_POOLINGS[network.pooling]]
    if network.neck.layers:
        layers = (_NECK[layer] for layer in network.neck.layers)
        parts.append(f"a neck of {' and '.join(layers)}")
    if network.eigenlayer is not None:
        parts.append(f"an Eigenlayer of {len(network.eigenlayer)} vectors")
    if body.size is not None:  # a vision transformer
        parts = ["its class token", *parts[1:]]
    return f"Recognized as {row.name}: a {body.base.name}{kind} with {', and '.join(parts)}."


def _assumed(network: ReidNetwork, body: Body, images: InputSpec) -> str:
    """Return what no tensor tells: the stride and the images."""
    size = f"{images.size[0]}x{images.size[1]}"
    prepared = f"squashed to {size} ({images.interpolation})"
    if body.size is not None:
        stride = body.patch_stride or 16
        return (
            f"Its positions fit images of {size} with patches {stride} pixels apart; they are "
            f"{prepared}."
        )
    source = f"{network.read_beside} says" if network.read_beside else "Taken as published"
    return (
        f"{source}: last stride {network.last_stride}, images {prepared}; --img-size HxW for "
        "images of another size."
    )


def _feature(network: ReidNetwork) -> Iterator[str]:
    if network.neck.layers:
        yield (
            "What describes an image is what comes out of the neck; --feature pooled takes what "
            "enters it."
        )


def _first_relu(network: ReidNetwork) -> Iterator[str]:
    if not network.may_lack_relu:
        return
    if network.has_relu is False:
        yield "The first ReLU is left out, as the file's own statistics or names tell."
    elif network.has_relu is None:
        yield (
            "Its statistics do not tell whether it was trained with the first ReLU, which this "
            "code base's own networks lack: it is taken to be there."
        )

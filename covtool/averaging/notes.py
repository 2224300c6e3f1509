"""Notes on an average: whatever is special about it, in sentences."""

from collections import Counter
from collections.abc import Iterator

from covtool.averaging.batch_norms import batch_norms
from covtool.averaging.choosing import Chosen
from covtool.averaging.records import AverageRequest
from covtool.averaging.sources import Opener
from covtool.specs import EigenlayerSpec


def notes_on(chosen: Chosen, request: AverageRequest, opener: Opener) -> tuple[str, ...]:
    """Return what is special about an average and its sources, each sentence once."""
    sources = list(opener.sources.values())
    opened = (note for source in sources for note in source.notes)
    return tuple(
        dict.fromkeys(
            (
                *opened,
                *_on_sources(opener),
                *_on_weights(chosen, request, opener),
                *_on_choice(chosen, request),
            )
        )
    )


def _on_sources(opener: Opener) -> Iterator[str]:
    sources = list(opener.sources.values())
    for number, source in enumerate(sources):
        twin = next((one for one in sources[:number] if one.weights == source.weights), None)
        if twin is not None:
            yield f"{twin.name} and {source.name} have the same weights."
    for name, times in Counter(opener.given).items():
        if times > 1:
            yield f"{opener.sources[name].name} is named {times} times."
    if sources[0].recipe.class_names is None:
        yield "The models do not name their classes: that they have one order is assumed."
    if any(part for source in sources for part in source.recipe.provenance.untrained):
        yield "The network of a model has random weights in part; so has the average."


def _on_weights(chosen: Chosen, request: AverageRequest, opener: Opener) -> Iterator[str]:
    shared = [source for source, _ in chosen.shares]
    if len(opener.dtypes) > 1:
        words = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in opener.dtypes))
        yield f"The models are in {words}; the average is in float32."
    norms = len(batch_norms(chosen.model))
    if norms and request.bn_data is None and len({source.statistics for source in shared}) > 1:
        yield (
            f"The means and variances of {norms} batch norms are averages of those of the models; "
            "--bn-data DIR estimates them on training images."
        )
    operations = shared[0].recipe.operations
    if len(shared) > 1 and any(isinstance(one, EigenlayerSpec) for one in operations):
        yield "An average of Eigenlayers is not decorrelated: covtool svdnet-rri makes it so again."


def _on_choice(chosen: Chosen, request: AverageRequest) -> Iterator[str]:
    if not request.chooses:
        return
    if len(chosen.shares) == 1:
        ((source, _),) = chosen.shares
        is_line = chosen.method == "line"
        why = "The best point is an end of the line" if is_line else "Each other model did harm"
        yield f"{why}: the result has the weights of {source.name} alone."
    yield (
        f"It was chosen on {chosen.measured.data}, where its figures are too good: measure it on "
        "other images, with covtool evaluate --split test for example."
    )

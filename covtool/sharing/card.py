"""The model card of a recipe: Markdown with the hub's YAML in front of it."""

from collections.abc import Iterable
from math import isfinite
from typing import Any

from covtool.backbones.source_weights import SourceWeights, source_weights
from covtool.sharing.card_sections import (
    Usage,
    classes_section,
    figures_section,
    history_section,
    images_section,
    introduction,
    license_section,
    score_section,
    untrained_section,
    usage_section,
)
from covtool.sharing.markdown import code, front_matter
from covtool.specs import HeadSpec, Recipe

SPDX = frozenset(("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0"))
"""Licenses of timm's weights that the hub knows by these words; others are ``other`` there."""

_ACCURACY = ("top_1", "top_5", "left_out_top_1")


def card_text(
    recipe: Recipe, usage: Usage | None = None, *, assumptions: Iterable[str] = ()
) -> str:
    """Return the model card of a recipe.

    Everything in it is in the recipe, or in timm's table of published weights. Names from files
    stand as code, so that none of them is taken for Markdown, HTML or YAML.

    Args:
        recipe: Recipe of the model.
        usage: Place of the model, and what opens it; None for a covtool file.
        assumptions: Assumptions about a file that is not covtool's, in sentences.
    """
    usage = usage or Usage()
    source = _source(recipe)
    sections = (
        introduction(recipe),
        untrained_section(recipe),
        history_section(recipe, assumptions),
        figures_section(recipe),
        classes_section(recipe),
        images_section(recipe),
        score_section(recipe, is_timm_folder=usage.is_timm_folder),
        usage_section(recipe, usage),
        license_section(recipe, source),
    )
    name = usage.repo.partition("/")[2] if usage.repo else recipe.base.name
    library = "timm" if usage.with_timm else "covtool"
    text = "\n".join((f"# {code(name)}\n", *filter(None, sections)))
    return f"{front_matter(_front(recipe, source, name, library))}\n{text}"


def _front(recipe: Recipe, source: SourceWeights | None, name: str, library: str) -> dict[str, Any]:
    classifies = "classifier" not in recipe.provenance.untrained
    task = "image-classification" if classifies else "image-feature-extraction"
    values: dict[str, Any] = {
        # The hub shows this library's code to load the model with.
        "library_name": library,
        "tags": _tags(recipe, task),
        "pipeline_tag": task,
    }
    if source is not None and source.license is not None:
        values |= _license(source.license)
    if source is not None and source.hub_id is not None:
        values["base_model"] = source.hub_id
    results = _results(recipe, task)
    if results:
        if any(metric.name in _ACCURACY for metric in recipe.provenance.metrics):
            values["metrics"] = ["accuracy"]
        values["model-index"] = [{"name": name, "results": results}]
    return values


def _tags(recipe: Recipe, task: str) -> list[str]:
    heads = [o.head for o in recipe.operations if isinstance(o, HeadSpec)]
    others = [o.operation for o in recipe.operations if not isinstance(o, HeadSpec)]
    library = [recipe.base.library]
    return list(dict.fromkeys(["covtool", task, *library, *heads, *others]))


def _license(name: str) -> dict[str, str]:
    return {"license": name} if name in SPDX else {"license": "other", "license_name": name}


def _source(recipe: Recipe) -> SourceWeights | None:
    """Return the published weights that the model began with, where it is certain."""
    made = recipe.provenance
    if "network" in made.untrained:
        return None
    return source_weights(made.source, made.source_sha256)


def _results(recipe: Recipe, task: str) -> list[dict[str, Any]]:
    """Return the figures as the hub reads them, a result for each set of images."""
    by_data: dict[str, list[dict[str, Any]]] = {}
    for metric in recipe.provenance.metrics:
        if isfinite(metric.value):
            kind = "accuracy" if metric.name in _ACCURACY else metric.name
            shown = {"type": kind, "name": metric.name, "value": round(metric.value, 4)}
            by_data.setdefault(metric.data, []).append(shown)
    return [
        {
            "task": {"type": task},
            # Folders on a disk: no name of a data set on the hub is known.
            "dataset": {"name": data, "type": "imagefolder"},
            "metrics": metrics,
        }
        for data, metrics in by_data.items()
    ]

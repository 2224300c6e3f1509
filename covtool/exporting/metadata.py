"""Metadata of an exported file, as texts by name."""

import json
from dataclasses import asdict

from covtool import __version__
from covtool.exporting.job import Job, Reference
from covtool.exporting.records import Comparison


def metadata_of(job: Job, reference: Reference, proof: Comparison | None = None) -> dict[str, str]:
    """Return the texts: JSON, but for version, precision and temperature.

    Args:
        job: The export.
        reference: The model that is exported.
        proof: Comparison of the program with it; None where it is not done yet.
    """
    interface, recipe, root = job.interface, reference.recipe, reference.root
    images = interface.images.model_dump(mode="json")
    texts = {
        "covtool_version": __version__,
        "precision": job.request.precision,
        "recipe": recipe.model_dump_json(),
        "input": json.dumps(
            {
                "name": interface.input,
                "dtype": interface.dtype,
                "shape": interface.shape,
                "normalizes": interface.normalizes,
                **images,
            }
        ),
        "class_names": json.dumps(recipe.class_names),  # null where they are not known
        "output": json.dumps({"name": interface.output, "classes": recipe.num_classes}),
        # 1 where none was chosen: whoever divides by it need not ask.
        "temperature": repr(recipe.scores.temperature if recipe.scores else 1.0),
    }
    if root is not None:
        texts["root"] = json.dumps(asdict(root))
    if proof is not None:
        texts["proof"] = json.dumps(asdict(proof))
    return texts

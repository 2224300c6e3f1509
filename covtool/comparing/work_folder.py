"""Names of folders in a work folder: whatever decides a feature map decides the name."""

import hashlib
import json

from covtool.checkpoints.tensor_checksum import checksum
from covtool.comparing.candidates import Subject
from covtool.comparing.preparing import PreparedComparison
from covtool.data.datasets.fingerprint import file_fingerprint, fingerprint

_SHOWN = 24


def subject_key(prepared: PreparedComparison, subject: Subject) -> str:
    """Return the name of the folder of a network's maps.

    Images, their order and labels, batches, and everything of the network are in it: after any
    change the maps are made anew, beside the old ones.
    """
    layout, samples = prepared.layout, prepared.samples
    structure = subject.opened.recipe.model_dump(
        mode="json", include={"base", "operations", "input"}
    )
    decisive = {
        **structure,
        "tensors": checksum(subject.opened.model.state_dict()),
        "images": fingerprint(samples, layout.folder),
        "files": file_fingerprint(samples, layout.folder) if layout.has_files else None,
        "classes": subject.class_names,
        "batch_size": prepared.request.batch_size,
        "device": prepared.device.type,
    }
    text = json.dumps(decisive, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_SHOWN]

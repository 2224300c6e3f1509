"""Classifiers of people, recognized by published numbers and names."""

import re

from torch import Tensor

from covtool.checkpoints.foreign import ForeignCheckpoint

# Training identities of Market-1501, DukeMTMC-reID, CUHK03 (new protocol) and MSMT17.
_IDENTITIES = (751, 702, 767, 1041)
_DATA_SETS = re.compile(r"(?<![a-z])(market|duke|msmt|cuhk0)", re.IGNORECASE)


def is_of_people(classifier: Tensor, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a classifier has the outputs, or a file the name, of a data set of people."""
    return len(classifier) in _IDENTITIES or _DATA_SETS.search(checkpoint.path.stem) is not None

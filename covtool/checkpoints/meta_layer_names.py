"""The meta-layer of a published covariance network, which only names tell.

The published scripts write no meta-layer into a file, but name its folder
``Finetune-CUB_200_2011-resnet50-SEB-reproduce-lr3e-3-bs10``.

As in jiangtaoxie/fast-MPN-COV and KingJamesSong/DifferentiableSVD: train.sh, main.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from covtool.full_paths import absolute

_FIELDS: dict[str, dict[str, str]] = {
    "MPNCOV": {"head": "isqrt"},
    "SVD_Original": {"head": "mpn", "gradient": "svd"},
    "SVD_Trunc": {"head": "mpn", "gradient": "truncated"},
    "SVD_TopN": {"head": "mpn", "gradient": "top-n"},
    "SVD_Taylor": {"head": "mpn", "gradient": "taylor"},
    "SVD_Pade": {"head": "mpn", "gradient": "pade"},
    "SVD_PI": {"head": "mpn", "gradient": "power-iteration"},
    "SVD_Newton": {"head": "mpn", "gradient": "newton-schulz"},
    "SEB": {"head": "seb", "gradient": "svd"},
}
_WORD = re.compile(r"(?<![a-z0-9])(" + "|".join(_FIELDS) + r")(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MetaLayer:
    """A published meta-layer that a name tells.

    Attributes:
        name: Value of ``--representation`` of the published scripts.
        stated_by: The file's or the folder's name.
    """

    name: str
    stated_by: str

    @property
    def fields(self) -> Mapping[str, str]:
        """Fields of the `HeadSpec` that it is."""
        return _FIELDS[self.name]


def stated_meta_layer(path: Path) -> MetaLayer | None:
    """Find a meta-layer in the name of a file or of the two folders around; the nearest wins.

    A folder's name counts only where the word is one of several, joined by dashes: people are
    called Seb.
    """
    folders = absolute(path).parents[:2]  # the second stage of fine-tuning is a folder inside
    for name in (path.name, *(folder.name for folder in folders if "-" in folder.name)):
        found = _WORD.search(name)
        if found is not None:
            # Folders spell it as their authors like; the scripts know one spelling.
            spelled = {known.lower(): known for known in _FIELDS}
            return MetaLayer(name=spelled[found[1].lower()], stated_by=name)
    return None

"""An audit with what it knows of each image."""

from dataclasses import dataclass

from covtool.auditing.images import Images
from covtool.auditing.looking import Looks
from covtool.auditing.records import Audit
from covtool.data.datasets.survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """An audit, for the files that name every image.

    Attributes:
        audit: What was found.
        survey: The images as they lie.
        images: The same, numbered.
        looks: What each one is.
    """

    audit: Audit
    survey: Survey
    images: Images
    looks: Looks

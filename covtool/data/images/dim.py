"""Gray images of 16 bits that use the lowest only, as cameras with 10 or 12 bits write them."""

import numpy as np
from PIL import Image

WHITE_12 = 4095


def is_dim(image: Image.Image) -> bool:
    """Return whether an image has more than 8 bits a pixel and no value above 12 of them."""
    if not image.mode.startswith("I"):
        return False
    return 0 < int(np.asarray(image).max()) <= WHITE_12


def note_on_dim(count: int) -> str | None:
    """Return a note on such images; None where there are none."""
    if not count:
        return None
    images = f"{count:,} images of 16 bits have" if count > 1 else "1 image of 16 bits has"
    return (
        f"{images} no value above {WHITE_12:,}, where 65,535 is white: nearly black. Scale such "
        "images beforehand if they are of 12 bits."
    )

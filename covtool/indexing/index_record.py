"""The record of an index: the model that its features are of, a threshold, an inverted file.

A record stands as JSON in the metadata of the file, beside the labels of the images.
"""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field

from covtool.specs import InputSpec, ModelSource, Record

VERSION = 1
"""Number of the schema that this covtool writes and reads."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=10_000)]


class ThresholdRecord(Record):
    """The distance beyond which an image is no match, and the pairs it was chosen on.

    Attributes:
        distance: Largest distance of a match.
        false_accept_rate: Share of pairs of two identities that were allowed to pass.
        true_accept_rate: Share of pairs of one identity that pass.
        different_pairs: Number of pairs of two identities.
        same_pairs: Number of pairs of one identity.
        images: Number of images in the pairs.
        identities: Number of their identities.
        data: Name of the data.
        of_gallery: Whether they are images of the gallery itself.
    """

    distance: Annotated[float, Field(allow_inf_nan=False)]
    false_accept_rate: Share
    true_accept_rate: Share
    different_pairs: Count
    same_pairs: Count
    images: Count
    identities: Count
    data: Text
    of_gallery: bool


class InvertedFileRecord(Record):
    """A file of faiss beside the index, and how many neighbors it finds.

    Attributes:
        file: Name of the file, in the folder of the index.
        sha256: Checksum of the file.
        lists: Number of its lists.
        probed: Number of lists that a search looks into.
        recall: Share of the nearest images that it finds, measured when it was built.
        recall_at: Number of nearest images that were looked for.
        queries: Number of images of the gallery that were searched with, each among the others.
    """

    file: Annotated[str, Field(max_length=255, pattern=r"^[^/\\\x00]+\.faiss$")]
    sha256: Digest
    lists: Annotated[int, Field(ge=1)]
    probed: Annotated[int, Field(ge=1)]
    recall: Share
    recall_at: Count
    queries: Count


class IndexRecord(Record):
    """What an index says about itself.

    Attributes:
        version: Number of this schema.
        model: The model, as it was opened.
        fingerprint: Digest of what gives the features; see `model_fingerprint`.
        feature: Choice of the features, as in `FeatureSpec`.
        flip_test: Whether they are means with mirror images.
        layer: Path of the module whose input they are; "" for the model's output.
        input: Preparation of the images.
        metric: Distance between two images.
        folder: Folder that the images' paths are relative to, in full; see `folder_text`.
        threshold: The distance beyond which an image is no match; None where none was chosen.
        inverted_file: A file of faiss beside the index.
        covtool_version: Version that wrote it.
    """

    version: Literal[1] = 1
    model: ModelSource
    fingerprint: Digest
    feature: Literal["embedding", "pooled", "logits"]
    flip_test: bool
    layer: Text
    input: InputSpec
    metric: Literal["cosine", "euclidean"]
    folder: Text
    threshold: ThresholdRecord | None = None
    inverted_file: InvertedFileRecord | None = None
    covtool_version: Text

    @property
    def root(self) -> Path:
        """`folder` as a path."""
        return Path(os.fsdecode(unquote_to_bytes(self.folder)))


def folder_text(folder: Path) -> str:
    """Return the path of a folder as ASCII: names of files need not be text.

    Example:
        >>> folder_text(Path("/data/my cars"))
        '/data/my%20cars'
    """
    return quote_from_bytes(os.fsencode(folder))

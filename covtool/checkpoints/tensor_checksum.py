"""Checksums of named tensors and texts, as covtool's own files carry them.

A flipped bit in the weights of a file leaves it readable, and every figure measured with it wrong;
so does one in features, or in the labels beside them.
"""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

CHECKSUM_KEY = "covtool.sha256"
"""Where the metadata of a safetensors file keep it."""


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256 over name, dtype, shape and bytes of each tensor by name, in hexadecimal.

    Example:
        >>> checksum({"a": torch.zeros(2)}) == checksum({"a": torch.zeros(2, 1)})
        False
    """
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        described = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        # As JSON and with shapes, so that no two sets of tensors give one sequence of bytes.
        found.update(json.dumps(described).encode() + b"\n")
        found.update(tensor.flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def text_checksum(texts: Mapping[str, str]) -> str:
    """Return SHA-256 over the names and texts of metadata, in the order of names, hexadecimal."""
    found = hashlib.sha256()
    for name in sorted(texts):
        found.update(json.dumps([name, texts[name]]).encode() + b"\n")
    return found.hexdigest()

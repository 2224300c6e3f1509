"""Tensors, made from a file's bytes once sizes, strides, offset and type were checked."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from covtool.checkpoints.pickles.records import (
    GlobalName,
    PickleError,
    Placeholder,
    StorageRecord,
    UnusableTensor,
)
from covtool.checkpoints.pickles.settle import Settle

UNTYPED = "untyped"
DTYPES: Mapping[str, torch.dtype] = {
    f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)
}
_STORAGES = {
    "BFloat16": "bfloat16",
    "Bool": "bool",
    "Byte": "uint8",
    "Char": "int8",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "Int": "int32",
    "Long": "int64",
    "QInt32": "qint32",
    "QInt8": "qint8",
    "QUInt2x4": "quint2x4",
    "QUInt4x2": "quint4x2",
    "QUInt8": "quint8",
    "Short": "int16",
    "Untyped": UNTYPED,
    "_Untyped": UNTYPED,
}
# By their module as well: another package's class of such a name is none of torch's.
STORAGES: Mapping[str, str] = {
    f"{module}.{kind}Storage": dtype
    for kind, dtype in _STORAGES.items()
    for module in ("torch", "torch.cuda", "torch.storage")
}
_USABLE = frozenset(
    {
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bfloat16),
        *(torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128),
        *(dtype for name, dtype in DTYPES.items() if name.startswith("torch.float8_")),
    }
)
_LIKE_TENSORS = ("b1", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")  # types of arrays
_MOST_DIMENSIONS = 64
_SHOWN_SIZES = 8
_LONGEST_SIZE = 20  # characters
_LARGEST = 1 << 48  # of a size, a stride, an offset
_LARGEST_EXPANDED = 1 << 30  # bytes of a tensor whose numbers are few and repeated


def itemsize(record: StorageRecord) -> int:
    """Return bytes of each of a storage's numbers."""
    dtype = DTYPES.get(f"torch.{record.dtype}")
    return 1 if dtype is None else dtype.itemsize


def storage_record(reference: Any) -> StorageRecord:
    """Return what a pickle's reference to outside itself stands for; torch.save writes no others.

    Raises:
        PickleError: It is something else.
    """
    if not isinstance(reference, tuple) or len(reference) not in (5, 6):
        raise PickleError("It refers to something that is not a storage of a tensor.")
    word, kind, key, _, numel, *view = reference
    known = isinstance(kind, GlobalName) and kind.full in STORAGES
    if word != "storage" or not known or not isinstance(key, str):
        raise PickleError("It refers to something that is not a storage of a tensor.")
    if not _is_size(numel):
        raise PickleError(f"A storage has {_shown_one(numel)} numbers.")
    return StorageRecord(key, STORAGES[kind.full], numel, _view_of(view))


def _view_of(view: list[Any]) -> tuple[int, int] | None:
    if not view or view[0] is None:
        return None
    parts = view[0]
    if not isinstance(parts, tuple) or len(parts) != 3 or not all(map(_is_size, parts[1:])):
        raise PickleError("A part of a storage has no beginning and no length.")
    return parts[1:]


def _strided(record: Placeholder, settle: Settle) -> Any:
    """Rebuild a tensor of `_rebuild_tensor` and `_v2`: (storage, offset, size, stride, ...)."""
    storage, offset, size, stride, *others = _exactly(record.arguments, 4)
    if not isinstance(storage, StorageRecord):
        raise PickleError("A tensor has no storage.")
    # Before it come requires_grad and backward hooks, which no weight needs.
    metadata = others[2] if len(others) > 2 else None
    return _viewed(settle, storage, storage.dtype, (offset, size, stride), metadata)


def _strided_of_dtype(record: Placeholder, settle: Settle) -> Any:
    """Rebuild a tensor of `_rebuild_tensor_v3`, whose storage is bytes and which says its type."""
    storage, offset, size, stride, _, _, dtype, *others = _exactly(record.arguments, 7)
    if not isinstance(storage, StorageRecord) or not isinstance(dtype, GlobalName):
        raise PickleError("A tensor has no storage, or no type.")
    name = dtype.qualname
    return _viewed(settle, storage, name, (offset, size, stride), others[0] if others else None)


def _viewed(
    settle: Settle, storage: StorageRecord, name: str, place: tuple, metadata: Any
) -> Tensor | UnusableTensor:
    dtype = DTYPES.get(f"torch.{name}")
    if dtype not in _USABLE:
        return UnusableTensor(f"of type {name}")
    offset, size, stride = place[0], settle(place[1]), settle(place[2])
    untyped = settle.storages.untyped(storage, dtype)
    # A view may end before its storage: the smaller of both is what a tensor may reach.
    nbytes = min(_claimed(storage), untyped.nbytes())
    _require_within(nbytes // dtype.itemsize, offset, size, stride, dtype.itemsize)
    # `set_` checks nothing about strides of other storages: `_require_within` has to come first.
    tensor = torch.empty(0, dtype=dtype).set_(untyped, offset, size, stride)
    return _flagged(tensor, metadata)


def _claimed(storage: StorageRecord) -> int:
    """Return bytes that a storage, or the part of it that is meant, should have."""
    return (storage.view[1] if storage.view else storage.numel) * itemsize(storage)


def _flagged(tensor: Tensor, metadata: Any) -> Tensor:
    """Return the tensor with what torch has put off: a conjugation, a change of sign."""
    flags = metadata if isinstance(metadata, dict) else {}
    if flags.get("conj") is True and tensor.is_complex():
        tensor = tensor.conj()
    if flags.get("neg") is True and (tensor.is_complex() or tensor.is_floating_point()):
        tensor = torch._neg_view(tensor)
    return tensor


def _require_within(numel: int, offset: Any, size: Any, stride: Any, width: int) -> None:
    """Refuse a tensor that is not inside its storage.

    Raises:
        PickleError: It is not, or is far larger.
    """
    if not all(map(_are_sizes, (size, stride))):
        raise PickleError(f"A tensor has the shape {shown(size)}, strides {shown(stride)}.")
    if not _is_size(offset) or len(size) != len(stride):
        raise PickleError(f"A tensor has {len(size)} sizes, {len(stride)} strides.")
    count = math.prod(size)
    # A size of 0 must not hide sizes whose product overflows 64 bits inside torch.
    if math.prod(max(n, 1) for n in size) > _LARGEST:
        raise PickleError(f"A tensor has the shape {shown(size)}.")
    # Strides may be 0 (expanded) or overlap, so the last element is counted, not the product.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if offset > numel or (count and last >= numel):
        raise PickleError(
            f"A tensor of shape {shown(size)} is larger than its storage of {numel:,} numbers."
        )
    # An expanded tensor takes no memory here, but all of it when it is copied into a model.
    if count > numel and count * width > _LARGEST_EXPANDED:
        raise PickleError(f"A tensor of shape {shown(size)} repeats {numel:,} numbers.")


def _is_size(value: Any) -> bool:
    # `type` and not `isinstance`: True is an int, and torch would take it as 1.
    return type(value) is int and 0 <= value <= _LARGEST


def _are_sizes(value: Any) -> bool:
    fits = isinstance(value, tuple) and len(value) <= _MOST_DIMENSIONS
    return fits and all(map(_is_size, value))


def shown(value: Any) -> str:
    """Return a value that should be a size or sizes, in a few characters."""
    if not isinstance(value, tuple):
        return str(value)[:_LONGEST_SIZE] if isinstance(value, int) else type(value).__name__
    more = ", ..." if len(value) > _SHOWN_SIZES else ""
    return f"({', '.join(map(_shown_one, value[:_SHOWN_SIZES]))}{more})"


def _shown_one(value: Any) -> str:
    return "(...)" if isinstance(value, tuple) else shown(value)


def _exactly(arguments: tuple, least: int) -> tuple:
    if len(arguments) < least:
        raise PickleError(f"A tensor has {len(arguments)} of {least} parts.")
    return arguments


def _first(record: Placeholder, settle: Settle) -> Any:
    """Return the tensor that a parameter, a buffer or the like was made from."""
    made = settle(record.arguments[0]) if record.arguments else None
    return made if isinstance(made, Tensor | UnusableTensor) else NotImplemented


def _of_subclass(record: Placeholder, settle: Settle) -> Any:
    """Return the plain tensor of `_rebuild_from_type_v2(function, class, arguments, state)`."""
    function, _, arguments, *_ = _exactly(record.arguments, 3)
    return _called(function, arguments, settle)


def _of_fastai(record: Placeholder, settle: Settle) -> Any:
    """Return the plain tensor of `_fa_rebuild_tensor(class, ...)`."""
    return _called(GlobalName("torch._utils", "_rebuild_tensor_v2"), record.arguments[1:], settle)


def _called(function: Any, arguments: Any, settle: Settle) -> Any:
    row = TENSORS.get(function.full) if isinstance(function, GlobalName) else None
    # A subclass inside a subclass could nest without end.
    if row is None or row is _of_subclass or not isinstance(arguments, tuple):
        return NotImplemented
    return row(Placeholder(function, arguments), settle)


def _from_numpy(record: Placeholder, settle: Settle) -> Any:
    """Return tensors of XLA and other devices, which are written as arrays."""
    array = settle(record.arguments[0]) if record.arguments else None
    if not isinstance(array, np.ndarray) or array.dtype.str[1:] not in _LIKE_TENSORS:
        return NotImplemented
    # Arrays of another byte order cannot become tensors.
    native = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(native)


def _unusable(kind: str) -> Callable[[Placeholder, Settle], UnusableTensor]:
    return lambda record, settle: UnusableTensor(kind)


def _quantized(record: Placeholder, settle: Settle) -> UnusableTensor:
    storage = record.arguments[0] if record.arguments else None
    kind = storage.dtype if isinstance(storage, StorageRecord) else "of no known type"
    return UnusableTensor(f"quantized ({kind})")


def _sparse(record: Placeholder, settle: Settle) -> UnusableTensor:
    layout = settle(record.arguments[0]) if record.arguments else None
    return UnusableTensor(f"sparse ({layout})" if isinstance(layout, str) else "sparse")


def _layout(record: Placeholder, settle: Settle) -> Any:
    name = record.arguments[0] if record.arguments else None
    return name.removeprefix("torch.") if isinstance(name, str) else NotImplemented


def _size(record: Placeholder, settle: Settle) -> Any:
    sizes = settle(record.arguments[0]) if record.arguments else ()
    return tuple(sizes) if isinstance(sizes, list | tuple) else NotImplemented


def _device(record: Placeholder, settle: Settle) -> Any:
    kind, index = (*record.arguments, None, None)[:2]
    if not isinstance(kind, str):
        return NotImplemented
    return f"{kind}:{index}" if _is_size(index) else kind


TENSORS: dict[str, Callable[[Placeholder, Settle], Any]] = {
    "torch._utils._rebuild_tensor": _strided,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_tensor_v3": _strided_of_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.autograd.variable.Variable": _first,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch._tensor._rebuild_from_type": _of_subclass,
    "fastai.torch_core._fa_rebuild_tensor": _of_fastai,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_numpy,
    "torch._utils._rebuild_xla_tensor": _from_numpy,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _unusable("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unusable("without values (meta)"),
    "torch._utils._rebuild_wrapper_subclass": _unusable("of a subclass without values"),
    "torch.serialization._get_layout": _layout,
    "torch.Size": _size,
    "torch.device": _device,
    **{
        f"torch.jit._pickle.build_{kind}list": _size
        for kind in ("int", "double", "bool", "tensor", "complex")
    },
}

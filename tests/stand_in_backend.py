"""A device of torch's open registration, without a compiler: its memory is the CPU's.

Its tensors say that they are on the device ``standin`` and compute real numbers, by wrapping
tensors of the CPU. What meets a tensor of the CPU raises, as on any device: only copies may. So
code that looks at values, which fake tensors cannot follow, runs to its end, and its results can be
compared with the CPU's. Registration is for good: call `registered` in a process of
its own.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten._copy_from.default}


class _Module:
    """What torch asks a backend."""

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def is_initialized():
        return True

    @staticmethod
    def _is_in_bad_fork():
        return False

    @staticmethod
    def device_count():
        return 1

    @staticmethod
    def current_device():
        return 0

    @staticmethod
    def manual_seed_all(seed):
        return None

    @staticmethod
    def get_amp_supported_dtype():
        return [torch.float16, torch.bfloat16]


def registered():
    """Register the device for the rest of this process, and return the mode that knows it."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` copies where the mode sees it
    return _Mode()


class StandIn(torch.Tensor):
    """A tensor of the device."""

    @staticmethod
    def __new__(cls, own):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            own.size(),
            strides=own.stride(),
            storage_offset=own.storage_offset(),
            dtype=own.dtype,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        made.own = own
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operator, types, arguments=(), keywords=None):
        return _computed(operator, arguments, keywords or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        return _computed(operator, arguments, keywords or {})


def _computed(operator, arguments, keywords):
    given, _ = tree_flatten((arguments, keywords))
    tensors = [one for one in given if isinstance(one, torch.Tensor)]
    there = any(isinstance(one, StandIn) for one in tensors)
    device = keywords.get("device")
    if device is not None:
        there = torch.device(device).type == NAME
        keywords = {**keywords, "device": torch.device("cpu")} if there else keywords
    if operator not in COPIES and there:
        for one in tensors:
            if not isinstance(one, StandIn) and one.ndim:
                raise RuntimeError(f"{operator}: {NAME}:0 and cpu, tensors of two devices")
    by_own = {id(one.own): one for one in tensors if isinstance(one, StandIn)}
    own = tree_map(lambda one: one.own if isinstance(one, StandIn) else one, (arguments, keywords))
    results, shape = tree_flatten(operator(*own[0], **own[1]))
    if operator is aten.copy_.default:
        return arguments[0]

    def moved(one):
        if not isinstance(one, torch.Tensor):
            return one
        # What was changed in place is the same tensor, not another one of the same memory.
        return by_own.get(id(one)) if id(one) in by_own else StandIn(one) if there else one

    return tree_unflatten([moved(one) for one in results], shape)

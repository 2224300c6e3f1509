"""The rule by which a name in a pickle is taken for one that would run code.

Nothing that a pickle names is ever run. A file that names what people attack with is refused all
the same: it is not what it seems to be. Of Python's own library, everything counts as code that is
not listed here as plain data; of other packages, which are too many to list, only what is listed.
"""

import builtins
import sys

from covtool.checkpoints.pickles.records import GlobalName

_ALL = None
_PLAIN: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(
        (
            *("_codecs", "_collections_abc", "_decimal", "_pydatetime", "_pydecimal", "abc"),
            *("argparse", "array", "collections", "collections.abc", "copyreg", "dataclasses"),
            *("datetime", "decimal", "enum", "fractions", "ipaddress", "itertools", "logging"),
            *("math", "numbers", "pathlib", "pathlib._local", "queue", "random", "re", "string"),
            *("time", "typing", "uuid", "warnings", "zoneinfo"),
        ),
        _ALL,
    ),
    "functools": frozenset({"partial", "partialmethod", "OrderedDict"}),
    "operator": frozenset({"add", "contains", "eq", "getitem", "itemgetter", "mul", "or_"}),
    "types": frozenset(
        {"EllipsisType", "GenericAlias", "MappingProxyType", "NoneType", "SimpleNamespace"}
    ),
    "builtins": frozenset(
        name for name, value in vars(builtins).items() if isinstance(value, type)
    ).union(
        *[("Ellipsis", "None", "NotImplemented", "abs", "all", "any", "getattr", "iter", "len")],
        *[("max", "min", "print", "reversed", "round", "sorted", "sum")],
    ),
}
# Other packages, whose names run code by design: shells, compilers, loaders, other pickles.
_PACKAGES_OF_CODE = (
    *("IPython", "cloudpickle", "dill", "fabric", "invoke", "ipykernel", "jsonpickle", "numexpr"),
    *("numpy.distutils", "numpy.f2py", "numpy.testing", "pexpect", "pip", "pkg_resources"),
    *("plumbum", "setuptools", "sh", "torch._C", "torch._dynamo", "torch._inductor"),
    *("torch.distributed.elastic", "torch.distributed.launcher", "torch.distributed.rpc"),
    *("torch.distributed.run", "torch.hub", "torch.jit", "torch.ops", "torch.package"),
    *("torch.utils.bottleneck", "torch.utils.collect_env", "torch.utils.cpp_extension"),
)
_PLAIN_MODULES = ("torch.jit._pickle",)  # typed lists, inside a package of code
# Functions that run what they are given, in whichever package they are.
_NAMES_OF_CODE = frozenset(
    (
        *("Popen", "__import__", "_load_from_bytes", "check_call", "check_output", "compile"),
        *("eval", "exec", "exec_module", "execfile", "getoutput", "getstatusoutput"),
        *("import_module", "load", "load_library", "load_module", "loads", "popen", "read_pickle"),
        *("run_code", "run_module", "run_path", "runstring", "spawn", "system", "unsafe_load"),
    )
)
# Names of Python's modules that other packages have inside them, as `pandas.io.pickle`.
_MODULES_OF_CODE = frozenset(
    (
        *("builtins", "ctypes", "importlib", "marshal", "nt", "os", "pickle", "posix", "pty"),
        *("runpy", "shutil", "socket", "subprocess", "sys"),
    )
)


def runs_code(name: GlobalName) -> bool:
    """Return whether a file that names this is refused.

    Example:
        >>> runs_code(GlobalName("os", "system")), runs_code(GlobalName("datetime", "date"))
        (True, False)
        >>> runs_code(GlobalName("mmengine.logging", "HistoryBuffer"))
        False
    """
    top, *below = name.module.split(".")
    *owners, last = name.qualname.split(".")
    # `numpy.os.system`: a package leads to the modules that it has imported.
    if any(part in sys.stdlib_module_names or _is_special(part) for part in owners):
        return True
    if top in sys.stdlib_module_names:
        return not _is_plain(name.module, [*owners, last])
    if name.module in _PLAIN_MODULES:
        return False
    return (
        last in _NAMES_OF_CODE
        or any(map(_is_special, (*below, last)))
        or not _MODULES_OF_CODE.isdisjoint(below)
        or any(f"{name.full}.".startswith(f"{package}.") for package in _PACKAGES_OF_CODE)
    )


def _is_plain(module: str, path: list[str]) -> bool:
    """Return whether a name of Python's own library is listed, and no module inside another."""
    plain = _PLAIN.get(module, frozenset())
    hidden = len(path) > 1 and path[0].startswith("_")
    return not hidden and (plain is _ALL or path[0] in plain)


def _is_special(part: str) -> bool:
    return part.startswith("__") and part.endswith("__")

"""Files that name what would run code are refused by name; nothing of theirs runs."""

import pickle

import pytest
import torch
from stand_ins import StandIns

from covtool.checkpoints import read_checkpoint
from covtool.checkpoints.pickles.hostile import runs_code
from covtool.checkpoints.pickles.records import GlobalName
from covtool.errors import UnsafeCheckpointError

CODE = [
    *("os.system", "posix.system", "nt.system", "subprocess.Popen", "subprocess.run"),
    *("builtins.eval", "builtins.exec", "builtins.__import__", "builtins.open", "builtins.compile"),
    *("io.open", "_io.open", "importlib.import_module", "runpy.run_path", "pty.spawn"),
    *("webbrowser.open", "pickle.loads", "_pickle.loads", "marshal.loads", "ctypes.CDLL"),
    *("socket.socket", "shutil.rmtree", "code.interact", "timeit.timeit", "pdb.run"),
    *("operator.attrgetter", "operator.methodcaller", "types.FunctionType", "types.CodeType"),
    *("functools.reduce", "torch.load", "torch.hub.load", "torch.storage._load_from_bytes"),
    *("numpy.load", "numpy.testing._private.utils.runstring", "pandas.read_pickle"),
    *("torch.jit.load", "torch.ops.load_library", "torch.utils.cpp_extension.load_inline"),
    *("torch.serialization.os.system", "cloudpickle.cloudpickle._make_function"),
    *("dill._dill._create_function", "pip.main", "urllib.request.urlopen", "ftplib.FTP"),
    *("__builtin__.eval", "commands.getoutput", "cPickle.loads", "builtins.globals"),
    *("collections.abc.sys.modules", "logging.os.system", "random._os.system"),
    *("some.module.Class.__init__", "some.module.Class.__globals__.x"),
]


def written_by_hand(path, body):
    """A zip of torch.save whose pickle is `body`."""
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", body)
        archive.writestr("a/version", b"3\n")


@pytest.mark.parametrize("full", CODE)
def test_what_would_run_code_is_refused_by_name_wherever_it_stands(tmp_path, full):
    parts = full.split(".")
    for split in range(1, len(parts)):
        module, name = ".".join(parts[:split]), ".".join(parts[split:])
        text = [pickle.SHORT_BINUNICODE + bytes([len(t)]) + t.encode() for t in (module, name)]
        stacked = b"".join(text) + pickle.STACK_GLOBAL
        if split == len(parts) - 1:
            body = b"\x80\x02}(X\x01\x00\x00\x00ac" + f"{module}\n{name}\n".encode() + b")Ru."
            written_by_hand(tmp_path / "evil.pt", body)
            with pytest.raises(UnsafeCheckpointError, match="without running code") as caught:
                read_checkpoint(tmp_path / "evil.pt")
            assert parts[-1] in caught.value.reason or "getoutput" in caught.value.reason
            written_by_hand(tmp_path / "cut.pt", b"\x80\x04}(" + stacked + b")R")
            with pytest.raises(UnsafeCheckpointError, match="without running code"):
                read_checkpoint(tmp_path / "cut.pt")


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("protocol", range(1, 6))
def test_attributes_are_named_of_classes_only(tmp_path, archive, protocol):
    for owner, name in [("text", "upper"), (Outer, "__init__"), (3, "real")]:
        content = {"w": torch.ones(2), "x": Gets(owner, name)}
        torch.save(
            content,
            tmp_path / "a.pt",
            _use_new_zipfile_serialization=archive,
            pickle_protocol=protocol,
        )
        with pytest.raises(UnsafeCheckpointError, match=r"builtins\.getattr"):
            read_checkpoint(tmp_path / "a.pt")
    content = {"w": torch.ones(2), "x": Gets(Outer, "Inner"), "y": Outer.Inner}
    torch.save(
        content, tmp_path / "a.pt", _use_new_zipfile_serialization=archive, pickle_protocol=protocol
    )
    assert read_checkpoint(tmp_path / "a.pt").not_tensors == ("x", "y")


class Outer:
    class Inner:
        pass


class Gets:
    def __init__(self, owner, name):
        self.call = getattr, (owner, name)

    def __reduce__(self):
        return self.call


def test_what_a_call_returns_is_not_called(tmp_path):
    body = b"\x80\x02}(X\x01\x00\x00\x00acsome.module\nmaker\n)R)Ru."
    written_by_hand(tmp_path / "evil.pt", body)
    with pytest.raises(UnsafeCheckpointError, match=r"what some\.module\.maker returns"):
        read_checkpoint(tmp_path / "evil.pt")


@pytest.mark.parametrize("archive", [True, False])
def test_functions_of_unknown_packages_are_never_called(tmp_path, archive):
    libraries = StandIns()
    build = libraries.function("mine.tools.build")

    class Built:
        def __reduce__(self):
            return build, (1, 2)

    with libraries.registered():
        torch.save(
            {"w": torch.ones(2), "x": Built()},
            tmp_path / "a.pt",
            _use_new_zipfile_serialization=archive,
        )
    assert torch.equal(read_checkpoint(tmp_path / "a.pt").tensors["w"], torch.ones(2))


@pytest.mark.parametrize(
    "full",
    [
        *("mmengine.logging.history_buffer.HistoryBuffer", "mypackage.code.Model"),
        *("builtins.ValueError", "builtins.print", "re._compile", "logging.getLogger"),
        *("torch.nn.functional.relu", "numpy.random._pickle.__randomstate_ctor"),
        *("timm.data.constants.IMAGENET", "__main__.Args", "torch.jit._pickle.build_intlist"),
    ],
)
def test_names_of_honest_files_are_no_code(full):
    module, _, name = full.rpartition(".")
    assert not runs_code(GlobalName(module, name))

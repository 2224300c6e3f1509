"""Whatever a training script leaves beside the tensors, they are read, and nothing else happens."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import logging
import pathlib
import pickle
import re
import sys
import types
import uuid

import numpy as np
import pytest
import torch
from stand_ins import Calls, ImportsAreErrors, StandIns

from covtool.checkpoints import read_checkpoint
from covtool.checkpoints.pickles import Placeholder, plain
from covtool.checkpoints.pickles.machine import Machine
from covtool.checkpoints.pickles.settling import Settling
from covtool.checkpoints.pickles.source import Source
from covtool.checkpoints.unpickling import load_torch_file
from covtool.errors import CheckpointError, UnsafeCheckpointError

FORMATS = {"zip": True, "legacy": False}
PROTOCOLS = range(1, 6)


class Color(enum.Enum):
    RED = 1


class Own:
    def __init__(self):
        raise AssertionError("An object was built.")

    def __setstate__(self, state):
        raise AssertionError("An object was given a state.")


def own():
    made = object.__new__(Own)
    made.depth, made.rates = 50, [0.1, np.float32(0.5)]
    return made


def cyclic():
    made = object.__new__(Own)
    made.children = [made]
    return made


PLAIN = {
    "number": 7,
    "texts": {"a": "ü", "b": ["x", ("y", None)]},
    "huge integer": 3**100,
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"\x00\xff"),
    "set": {1, "a", (2, 3)},
    "frozenset": frozenset({1, 2}),
    "complex": 1 + 2j,
    "slice": slice(1, None, 2),
    "range": range(1, 9, 2),
    "ordered": collections.OrderedDict(b=1, a=2),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], maxlen=5),
    "namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("/a/b")),
    "simple namespace": types.SimpleNamespace(lr=0.1),
    "date": datetime.date(2020, 1, 31),
    "time": datetime.time(1, 2, 3, 4),
    "moment": datetime.datetime(2020, 1, 31, 12, 30, 5, 7),
    "moment with zone": datetime.datetime(2020, 1, 31, tzinfo=datetime.UTC),
    "duration": datetime.timedelta(days=1, seconds=2, microseconds=3),
    "decimal": decimal.Decimal("1.50"),
    "fraction": fractions.Fraction(-3, 4),
    "uuid": uuid.UUID(int=2**127 + 5),
    "pure path": pathlib.PurePosixPath("/data/cub"),
    "windows path": pathlib.PureWindowsPath("C:/data/cub"),
    "numpy float": np.float64(0.8),
    "numpy float32": np.float32(0.8),
    "numpy integer": np.int64(-3),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("ab"),
    "numpy empty text": np.str_(""),
    "numpy time": np.datetime64("2020-01-31T12:30", "m"),
    "array": np.arange(6.0).reshape(2, 3),
    "array by columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "array of big-endian numbers": np.arange(3, dtype=">i2"),
    "array of texts": np.array(["a", "bcd"]),
    "array of no numbers": np.zeros((0, 5), np.float32),
    "array of times": np.array(["2020-01-31"], "M8[ns]"),
    "keys of numpy": {np.int64(3): "three", (1, "a"): 2},
}


def inert():
    """Objects that stay placeholders or become plain settings, each with what `plain` tells."""
    libraries = StandIns()
    node = functools.partial(libraries.object, "omegaconf.nodes.AnyNode")
    sizes = libraries.object(
        "omegaconf.listconfig.ListConfig", _content=[node(_val=64, _parent=None)], _metadata=None
    )
    config = libraries.object("omegaconf.dictconfig.DictConfig")
    vars(config).update(_content={"lr": node(_val=0.1, _parent=config), "s": sizes}, _parent=None)
    attributes = libraries.cls("pytorch_lightning.utilities.parsing.AttributeDict", dict)
    history = libraries.cls("mmengine.logging.history_buffer.HistoryBuffer")
    history.mean = lambda self: 0
    history.mean.__qualname__ = "HistoryBuffer.mean"
    history.mean.__module__ = history.__module__
    log = history()
    vars(log).update(_log_history=np.array([1.0]), statistics_methods={"mean": history.mean})
    settings = libraries.cls("mmengine.config.config.ConfigDict", dict)
    yacs = libraries.cls("yacs.config.CfgNode", dict)
    node_with_state = yacs(DEPTH=50)
    vars(node_with_state).update(__immutable__=True)
    stamp = libraries.function("pandas._libs.tslibs.timestamps._unpickle_timestamp")
    recorder = libraries.object("fastai.learner.Recorder", values=[[0.5, 0.25]])
    items = libraries.cls("somewhere.Items", list)
    mean = {"mean": "mmengine.logging.history_buffer.HistoryBuffer.mean"}
    return libraries, {
        "OmegaConf": (config, {"lr": 0.1, "s": [64]}),
        "Lightning": (
            attributes(lr=0.1, net=attributes(depth=50)),
            {"lr": 0.1, "net": {"depth": 50}},
        ),
        "mmengine's log": (log, {"_log_history": [1.0], "statistics_methods": mean}),
        "mmengine's settings": (settings(a=settings(b=1)), {"a": {"b": 1}}),
        "yacs": (node_with_state, {"DEPTH": 50}),
        "pandas": (Calls(stamp, 1_000, None, None, 10), None),
        "fastai": (recorder, {"values": [[0.5, 0.25]]}),
        "a list's subclass": (items([1, 2]), [1, 2]),
    }


LIBRARIES, INERT = inert()
OTHERS = {
    **{name: (value, None) for name, value in PLAIN.items()},
    **INERT,
    "default dict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "path": (pathlib.Path("/data/cub"), "/data/cub"),
    "enumeration": (Color.RED, None),
    "own class": (own(), {"depth": 50, "rates": [0.1, 0.5]}),
    "holds itself": (cyclic(), {"children": [None]}),
    "class": (Own, f"{__name__}.Own"),
    "function": (re.sub, "re.sub"),
    "partial": (functools.partial(own, 1), None),
    "logger": (logging.getLogger("covtool.test"), None),
    "regular expression": (re.compile("a+"), None),
    "random numbers": (np.random.RandomState(0), None),
    "array of objects": (np.array([{}, None], dtype=object), None),
    "record array": (np.zeros(2, [("a", "f4"), ("b", "i8")]), None),
    "optimizer": (torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1), None),
    "schedule": (torch.optim.lr_scheduler.LinearLR(torch.optim.SGD([torch.ones(2)], lr=0.1)), None),
    "loss": (torch.nn.CrossEntropyLoss(weight=torch.ones(3)), None),
    "device": (torch.device("cuda", 1), "cuda:1"),
    "dtype": (torch.float16, torch.float16),
    "size": (torch.Size([2, 3]), [2, 3]),
}


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "bn.num_batches_tracked": torch.tensor(3),
        "fc.weight": torch.randn(5, 4, generator=generator).half(),
    }


def write(content, path, archive, protocol=2):
    with LIBRARIES.registered():
        torch.save(content, path, _use_new_zipfile_serialization=archive, pickle_protocol=protocol)


def assert_equal(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, np.generic):
        assert (found.dtype, found) == (expected.dtype, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key])
    else:
        assert found == expected


@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", OTHERS)
def test_tensors_are_read_whatever_lies_beside_them(tmp_path, state, name, archive):
    beside, told = OTHERS[name]
    for protocol in PROTOCOLS:
        path = tmp_path / f"{protocol}.pt"
        write({"state_dict": state, "beside": beside}, path, archive, protocol)
        imports, modules = ImportsAreErrors(), set(sys.modules)
        with imports.watching():
            read = read_checkpoint(path)
            content = load_torch_file(path, archive=archive)["beside"]
        assert (imports.asked, set(sys.modules)) == ([], modules)
        assert list(read.others) == ["beside"]
        assert read.others["beside"].isprintable()
        assert {name: tensor.dtype for name, tensor in read.tensors.items()} == {
            name: tensor.dtype for name, tensor in state.items()
        }
        assert all(torch.equal(read.tensors[name], state[name]) for name in state)
        if name in PLAIN:
            assert_equal(content, beside)
        elif told is not None:
            assert_equal(plain(content), told)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_survive_protocol_0(name):
    value = Machine(Source(pickle.dumps(PLAIN[name], 0))).run()
    assert_equal(Settling(None).whole(value), PLAIN[name])


@pytest.mark.parametrize(
    ("name", "said"),
    {
        "numpy float": "numpy float 0.8",
        "numpy float32": "numpy float 0.8",
        "array": "numpy array (2, 3)",
        "date": "2020-01-31",
        "pure path": "/data/cub",
        "mmengine's log": "an object of mmengine.logging.history_buffer.HistoryBuffer",
        "optimizer": "an object of torch.optim.sgd.SGD",
        "class": f"the name {__name__}.Own",
        "function": "the name re.sub",
        "OmegaConf": "dict of 2",
    }.items(),
)
def test_the_summary_says_what_lies_beside_the_tensors(tmp_path, state, name, said):
    write({"state_dict": state, "beside": OTHERS[name][0]}, tmp_path / "a.pt", archive=True)
    assert read_checkpoint(tmp_path / "a.pt").others == {"beside": said}


def test_a_files_text_does_not_steer_the_terminal(tmp_path, state):
    libraries = StandIns()
    odd = libraries.object("some\x1b[2J.where.Thing", x=1)
    content = {"state_dict": state, "a\x1b[31mb": "c\x07d", "e": odd}
    with libraries.registered():
        torch.save(content, tmp_path / "a.pt")
    shown = read_checkpoint(tmp_path / "a.pt").others
    assert shown == {
        r"a\x1b[31mb": r"c\x07d",
        "e": r"an object of some\x1b[2J.where.Thing",
    }


def test_text_of_python_2_is_text_and_its_numbers_are_numbers():
    number = np.float64(0.8)
    raw = b"".join(b"\\x%02x" % byte for byte in number.tobytes())
    pickled = (
        b"(dp0\nS'best\\xc3\\xa9'\np1\ncnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n"
        b"(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbS'" + raw + b"'\ntRs."
    )
    assert_equal(Settling(None).whole(Machine(Source(pickled)).run()), {"best\xe9": number})


def test_what_is_shared_many_times_is_made_plain_once():
    value = []
    for _ in range(50):
        value = [value, value]
    first, second = plain(value)
    assert first is second


def test_what_objects_say_about_the_images_is_read(tmp_path, state):
    libraries = StandIns()
    config = libraries.object("omegaconf.dictconfig.DictConfig", _content={"mean": [0.5, 0.5, 0.5]})
    args = libraries.object("transformers.training_args.Arguments", img_size=np.int64(96))
    with libraries.registered():
        content = {"state_dict": state, "config": config, "args": args}
        torch.save({**content, "CLASSES": np.array(["a", "b"])}, tmp_path / "a.pt")
    (said,) = read_checkpoint(tmp_path / "a.pt").statements.sources
    assert said.input["size"] == (96, 96)
    assert said.input["mean"] == (0.5, 0.5, 0.5)
    assert said.class_names == ("a", "b")


def test_a_file_that_is_one_object_says_which(tmp_path):
    torch.save(own(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"It holds an object of .*\.Own, not named tensors"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_pickled_loss_beside_a_state_dict_is_a_placeholder(tmp_path, state):
    loss = torch.nn.CrossEntropyLoss(weight=torch.ones(3))
    torch.save({"state_dict": state, "criterion": loss}, tmp_path / "a.pt")
    found = load_torch_file(tmp_path / "a.pt", archive=True)["criterion"]
    assert isinstance(found, Placeholder)
    assert found.name == "torch.nn.modules.loss.CrossEntropyLoss"
    assert torch.equal(found.attributes["_buffers"]["weight"], torch.ones(3))


@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("key", ["model", "ema", "anything"])
def test_a_pickled_model_in_an_entry_is_refused_like_one_alone(tmp_path, key, archive):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    content = {key: model, "optimizer": optimizer.state_dict(), "epoch": 3}
    write(content, tmp_path / "a.pt", archive)
    with pytest.raises(UnsafeCheckpointError, match="a whole pickled model") as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "torch.nn.modules.container.Sequential" in caught.value.reason
    assert "state_dict()" in caught.value.hint

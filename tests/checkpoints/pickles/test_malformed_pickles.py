"""Whatever the bytes, a file is read or refused as damaged: one kind of error, in bounded time."""

import pickle
import random
import struct
import zipfile

import pytest
import torch

from covtool.checkpoints import read_checkpoint
from covtool.checkpoints.pickles import PickleError
from covtool.checkpoints.pickles.machine import OPERATIONS, Machine
from covtool.checkpoints.pickles.settling import Settling
from covtool.checkpoints.pickles.source import LITERALS, Source
from covtool.checkpoints.unpickling import load_torch_file
from covtool.errors import CheckpointError

CODES = {name: code for name, code in vars(pickle).items() if isinstance(code, bytes)}
EVERY = {code: name for name, code in CODES.items() if name.isupper() and len(code) == 1}
NOT_READ = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "STOP"}


def test_every_operation_of_pickle_is_known_but_those_that_need_something_outside():
    unknown = set(EVERY) - set(LITERALS) - set(OPERATIONS)
    assert {EVERY[operation] for operation in unknown} == NOT_READ


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(raw)) + raw


ZERO, FOUR, KEY, WORD = number(0), number(4), text("0"), text("storage")


def storage(kind=b"ctorch\nFloatStorage\n", key=KEY, numel=FOUR, word=WORD):
    return b"(" + word + kind + key + text("cpu") + numel + b"tQ"


def tensor(start=None, offset=ZERO, size=b"(K\x04t", stride=b"(K\x01t", flags=b"\x89N"):
    start = storage() if start is None else start
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return rebuild + start + offset + size + stride + flags + b"tR"


def write(path, value, **entries):
    """A zip of torch.save that holds one entry `w`, and a storage of four numbers."""
    content = {"data.pkl": b"\x80\x02}" + text("w") + value + b"s.", "data/0": bytes(16), **entries}
    content["version"] = b"3\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in content.items():
            archive.writestr(f"a/{name}", raw)


def test_the_files_made_by_hand_are_like_those_of_torch(tmp_path):
    write(tmp_path / "a.pt", tensor())
    assert torch.equal(read_checkpoint(tmp_path / "a.pt").tensors["w"], torch.zeros(4))
    assert torch.equal(torch.load(tmp_path / "a.pt", weights_only=False)["w"], torch.zeros(4))


def pair(value):
    return b"(" + value + value + b"t"


MALFORMED = {
    "more numbers than there are": tensor(size=b"(K\x05t"),
    "a size of 2^60": tensor(size=b"(" + number(2**60) + b"t"),
    "a size of 2^5000": tensor(size=b"(" + number(2**5000) + b"t"),
    "a number of 5,000 digits": tensor(size=b"(L" + b"9" * 5000 + b"L\nt"),
    "a negative size": tensor(size=b"(" + number(-4) + b"t"),
    "a negative stride": tensor(stride=b"(" + number(-1) + b"t"),
    "a negative offset": tensor(offset=number(-1)),
    "an offset past the end": tensor(offset=number(1)),
    "a stride past the end": tensor(stride=b"(K\x02t"),
    "a stride that repeats": tensor(size=b"(" + number(2**40) + b"t", stride=b"(K\x00t"),
    "sizes whose product is too large": tensor(size=pair(number(2**40)), stride=pair(b"K\x00")),
    "a size that is a text": tensor(size=b"(" + text("4") + b"t"),
    "a size that is true": tensor(size=b"(\x88t"),
    "sizes that are a number": tensor(size=b"K\x04"),
    "sizes that are a list": tensor(size=b"]K\x04a"),
    "more strides than sizes": tensor(stride=pair(b"K\x01")),
    "65 dimensions": tensor(size=b"(" + b"K\x01" * 65 + b"t", stride=b"(" + b"K\x01" * 65 + b"t"),
    "an offset that is a text": tensor(offset=text("0")),
    "no storage": tensor(start=b"N"),
    "a storage that is a text": tensor(start=text("0")),
    "an unknown kind of storage": tensor(storage(kind=b"ctorch\nOddStorage\n")),
    "a kind that is a text": tensor(storage(kind=text("FloatStorage"))),
    "another word than storage": tensor(storage(word=text("module"))),
    "a key that is not there": tensor(storage(key=text("7"))),
    "a key that is a number": tensor(storage(key=b"K\x00")),
    "a key that climbs out": tensor(storage(key=text("../data.pkl"))),
    "a key that is no text": tensor(storage(key=b"]")),
    "a storage that claims more": tensor(storage(numel=number(5))),
    "a storage that claims 2^62": tensor(storage(numel=number(2**62))),
    "a negative storage": tensor(storage(numel=number(-4))),
    "a storage of a text's length": tensor(storage(numel=text("4"))),
    "a reference that is a number": tensor(b"K\x07Q"),
    "a reference that is a dictionary": tensor(b"}Q"),
    "a reference in text": tensor(b"Pstorage\n"),
    "too few parts": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    "arguments that are a list": b"ctorch._utils\n_rebuild_tensor_v2\n]R",
    "a call of a number": b"K\x01)R",
    "an object of a text": text("x") + b")\x81",
    "an object of nothing": b"(o",
    "a class without a name": b"c\n\n)R",
    "a class whose name is a number": b"K\x01K\x02\x93",
    "a class of 10^5 letters": b"c" + b"x" * 100_000 + b"\nY\n",
    "an unknown operation": b"\xff",
    "an extension": b"\x82\x01",
    "a buffer from outside": b"\x97",
    "a mark that is not there": b"t",
    "nothing to take": b"0000",
    "nothing that was kept": b"h\x63",
    "items of a number": b"K\x01(K\x01K\x02u",
    "a key without a value": b"}(K\x01u",
    "a list as a key": b"}]K\x02s",
    "a dictionary in a tuple as a key": b"}}\x85K\x02s",
    "a nested tuple as a key": b"})" + b"\x85" * 100_000 + b"K\x01s",
    "a key of doubled tuples": b"})" + b"2\x86" * 200 + b"K\x01s",
    "a key of 10^300": b"}" + number(10**300) + b"K\x01s",
    "an element of a number": b"K\x01K\x02a",
    "a state of a list": b"]}b",
    "a state of a dictionary": b"}}b",
    "a length past the end": b"B\xff\xff\xff\xff",
    "a length of 2^63": b"\x8e" + b"\xff" * 8,
    "a length that is negative": b"\x8b\xff\xff\xff\xff",
    "a bytearray of 6 GB": b"\x96" + struct.pack("<Q", 6 * 2**30),
    "a line that never ends": b"I12",
    "a number that is none": b"Ix\n",
    "a real number that is none": b"Fx\n",
    "an unclosed text": b"S'abc\n",
    "a place that is none": b"gx\n",
    "protocol 255": b"\x80\xff",
    "a list in itself": b"](h\x00" + b"]q\x01h\x01a",
    "100,000 lists in one another": b"]" * 100_000 + b"a" * 99_999,
    "100,000 tuples in one another": b")" + b"\x85" * 100_000,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_damaged_and_the_error_says_why(tmp_path, name):
    path = tmp_path / "a.pt"
    write(path, MALFORMED[name])
    with pytest.raises(CheckpointError, match="damaged or cut short") as caught:
        read_checkpoint(path)
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 250


HARMLESS = {
    "nothing": b"N",
    "an invalid text": b"X\x02\x00\x00\x00\xff\xfe",
    "half a character": b"X\x03\x00\x00\x00\xed\xa0\x80",
    "a bytearray that a number would make": b"cbuiltins\nbytearray\n(" + number(6 * 2**30) + b"tR",
    "a range of 2^70": b"cbuiltins\nrange\n(" + number(2**70) + b"tR",
    "a fraction of 10^10000": b"cfractions\nFraction\n(" + text("1E9999") + b"tR",
    "a date of nothing": b"cdatetime\ndate\n)R",
    "a date in month 77": b"cdatetime\ndate\n(C\x04\x07\xe4\x4d\x01tR",
    "an array that is too large": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    + (b"(K\x00tC\x01btR(K\x01(" + number(2**40) + b"tcnumpy\ndtype\n(" + text("f8"))
    + b"\x89\x88tR\x89C\x00tb",
    "an array of a type that is none": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n("
    + (text("O8") + b"tRC\x08aaaaaaaatR"),
    "lists that double": b"]" + b"2\x86" * 60,
    "a deque of 2^70": b"ccollections\ndeque\n()" + number(2**70) + b"tR",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_odd_values_beside_the_tensors_do_no_harm(tmp_path, name):
    write(tmp_path / "a.pt", tensor() + b"s" + text("odd") + HARMLESS[name])
    read = read_checkpoint(tmp_path / "a.pt")
    assert torch.equal(read.tensors["w"], torch.zeros(4))
    assert read.not_tensors == ("odd",)


def test_containers_that_hold_themselves_are_refused():
    for body in (b"]q\x00h\x00a.", b"}q\x00" + text("x") + b"h\x00s."):
        with pytest.raises(PickleError, match="holds itself"):
            Settling(None).whole(Machine(Source(body)).run())


def test_a_pickle_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("covtool.checkpoints.pickles.machine.MOST_OPERATIONS", 1_000)
    with pytest.raises(PickleError, match="more than 1,000 operations"):
        Machine(Source(b"N0" * 501 + b"N.")).run()


def content():
    return {
        "state_dict": {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3).half()},
        "epoch": 3,
        "lr": 0.1,
        "names": ["x", ("y", {"z": None})],
    }


def assert_read_or_damaged(path, archive):
    try:
        load_torch_file(path, archive=archive)
    except CheckpointError as problem:
        assert problem.reason.isprintable()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("archive", [True, False])
def test_a_changed_byte_anywhere_gives_a_value_or_the_one_error(tmp_path, archive, protocol):
    path, changed = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(content(), path, _use_new_zipfile_serialization=archive, pickle_protocol=protocol)
    whole, draw = path.read_bytes(), random.Random(protocol)
    for _ in range(300):
        raw = bytearray(whole)
        for _ in range(draw.choice((1, 1, 3))):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        changed.write_bytes(raw)
        assert_read_or_damaged(changed, archive)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_cut_anywhere_gives_the_one_error(tmp_path, archive):
    path, cut = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(content(), path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    for end in range(1, len(whole), 13):
        cut.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            load_torch_file(cut, archive=archive)


def rewritten(path, target, **options):
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", **options) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))


def test_compressed_entries_are_refused_before_they_are_unpacked(tmp_path):
    torch.save(content(), tmp_path / "a.pt")
    rewritten(tmp_path / "a.pt", tmp_path / "b.pt", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(tmp_path / "b.pt")


def test_entries_that_lie_about_their_size_are_refused(tmp_path):
    torch.save(content(), tmp_path / "a.pt")
    raw = bytearray((tmp_path / "a.pt").read_bytes())
    directory = raw.index(b"PK\x01\x02")
    raw[directory + 20 : directory + 28] = struct.pack("<II", 2**31, 2**31)
    (tmp_path / "b.pt").write_bytes(raw)
    with pytest.raises(CheckpointError, match="there is room for"):
        read_checkpoint(tmp_path / "b.pt")

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
from covtool.checkpoints.pickles.settling import MOST_PARTS, Settling
from covtool.checkpoints.pickles.source import LITERALS, Source
from covtool.checkpoints.pickles.tensors import storage_record
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
    "a key that is not text": tensor(storage(key=b"]")),
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


def state_of_numbers():
    return {"w": torch.arange(4000.0), "b": torch.arange(8.0)}


def places(path):
    """Where each entry's bytes are."""
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            lengths = struct.unpack("<2H", raw[entry.header_offset + 26 : entry.header_offset + 30])
            yield entry.filename, entry.header_offset + 30 + sum(lengths), entry.file_size


def test_a_flipped_bit_in_a_tensor_or_in_the_pickle_is_found(tmp_path):
    torch.save(state_of_numbers(), tmp_path / "a.pt")
    for name, start, size in places(tmp_path / "a.pt"):
        if not name.endswith(("data/0", "data/1", "data.pkl")):
            continue
        raw = bytearray((tmp_path / "a.pt").read_bytes())
        raw[start + size // 2] ^= 1
        (tmp_path / "b.pt").write_bytes(raw)
        with pytest.raises(CheckpointError, match="does not fit its checksum"):
            read_checkpoint(tmp_path / "b.pt")


def test_a_file_that_was_written_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state_of_numbers(), tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    read = read_checkpoint(tmp_path / "a.pt").tensors
    assert torch.equal(read["w"], state_of_numbers()["w"])


def overwritten(at, value):
    """Bytes in the first row of the table of contents, from its place `at` on."""

    def change(raw):
        start = raw.index(b"PK\x01\x02") + at
        raw[start : start + len(value)] = value

    return change


def at_the_end(at, value):
    def change(raw):
        start = raw.rindex(b"PK\x05\x06") + at
        raw[start : start + len(value)] = value

    return change


TABLES = {
    "an encrypted entry": (overwritten(8, b"\x01\x00"), "compressed or encrypted"),
    "a compressed entry": (overwritten(10, b"\x08\x00"), "compressed or encrypted"),
    "another packed size": (overwritten(20, b"\x01\x00\x00\x00"), "compressed or encrypted"),
    "sizes of 64 bits that are not there": (overwritten(20, b"\xff" * 8), "has no size"),
    "a longer name": (overwritten(28, b"\xff\xff"), "table of contents is damaged"),
    "another place": (overwritten(42, b"\x01\x00\x00\x00"), "not where its table"),
    "a place outside": (overwritten(42, b"\xff\xff\xff\x7f"), "outside the file"),
    "no row": (overwritten(0, b"XX"), "a row of it is none"),
    "a wrong checksum": (overwritten(16, b"\x01\x02\x03\x04"), "does not fit its checksum"),
    "too many entries": (at_the_end(10, b"\xff\x7f"), "outside the file"),
    "fewer entries": (at_the_end(10, b"\x01\x00"), "entries, not 1"),
    "a table elsewhere": (at_the_end(16, b"\x00\x00\x00\x00"), "a row of it is none"),
    "a table outside": (at_the_end(16, b"\xff\xff\xff\x7f"), "outside the file"),
    "a comment that is cut": (at_the_end(20, b"\xff\xff"), "end is cut short"),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_is_wrong_in_a_table_of_contents_is_said(tmp_path, name):
    change, said = TABLES[name]
    write(tmp_path / "a.pt", tensor())
    raw = bytearray((tmp_path / "a.pt").read_bytes())
    change(raw)
    (tmp_path / "b.pt").write_bytes(raw)
    with pytest.raises(CheckpointError, match="damaged or cut short") as caught:
        read_checkpoint(tmp_path / "b.pt")
    assert said in caught.value.reason


def test_entries_of_one_name_or_one_place_are_refused(tmp_path):
    write(tmp_path / "a.pt", tensor())
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        archive.writestr("a/data/0", bytes(16))
    with pytest.raises(CheckpointError, match="a name is twice"):
        read_checkpoint(tmp_path / "a.pt")
    write(tmp_path / "a.pt", tensor())
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        archive.writestr("a/data/1", bytes(16))
        archive.getinfo("a/data/1").header_offset = archive.getinfo("a/data/0").header_offset
    with pytest.raises(CheckpointError, match="two entries are in one place"):
        read_checkpoint(tmp_path / "a.pt")


def test_archives_of_very_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("covtool.checkpoints.pickles.entries.MOST_ENTRIES", 2)
    write(tmp_path / "a.pt", tensor())
    with pytest.raises(CheckpointError, match="at most 2 are read"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_part_of_a_storage_is_refused_where_the_format_has_none(tmp_path):
    view = b"(" + WORD + b"ctorch\nFloatStorage\n" + KEY + text("cpu") + FOUR
    view += b"(" + text("v") + ZERO + number(2**40) + b"ttQ"
    write(tmp_path / "a.pt", tensor(view, size=b"(" + number(2**40) + b"t"))
    with pytest.raises(CheckpointError, match="part of a storage"):
        read_checkpoint(tmp_path / "a.pt")


def many(callee, argument, count=3_000):
    """A list of calls that share one argument."""
    calls = b"h\x00h\x01R" * count
    return b"(c" + callee.encode().replace(b".", b"\n") + b"\nq\x000" + argument + calls + b"l"


PAIRS = b"](K\x01K\x02\x86q\x05" + b"h\x05" * 3_000 + b"e\x85q\x010"
LATIN = b"(" + text("x" * 100_000) + text("latin1") + b"tq\x010"
SHARED = {
    "dictionaries of one list": (many("collections.OrderedDict", PAIRS), "more than 100,000 parts"),
    "queues of one list": (many("collections.deque", PAIRS), "more than 100,000 parts"),
    "sets of one list": (many("builtins.set", PAIRS), "more than 100,000 parts"),
    "sizes of one list": (many("torch.Size", PAIRS), "more than 100,000 parts"),
    "bytes of one text": (many("_codecs.encode", LATIN), "many times larger"),
    "copies of one tuple": (
        many("copyreg.__newobj__", b"(cfoo\nBar\n" + b"N" * 3_000 + b"tq\x010"),
        "operations",
    ),
    "objects of one state": (
        b"(cfoo\nBar\nq\x000}q\x02("
        + (b"".join(text(f"k{n}") + b"N" for n in range(500)) + b"u0")
        + (b"h\x00)Rh\x02b" * 500 + b"l"),
        "more than 100,000 parts",
    ),
    "keys of one tuple": (b"}((" + b"N" * 400 + b"tq\x010" + b"h\x01N" * 500 + b"u", "operations"),
    "names of very many classes": (
        b"(" + b"".join(b"cm\nC%d\n" % n for n in range(10_001)) + b"l",
        "names more than 10,000 classes",
    ),
    "a name that grows": (
        b"(cfoo\nBar\n)Rq\x000cbuiltins\ngetattr\nq\x010"
        + (text("a" * 400) + b"q\x020" + b"h\x01h\x00h\x02\x86Rq\x000" * 9 + b"l"),
        "too long",
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_many_objects_share_is_paid_for_by_each(tmp_path, monkeypatch, name):
    monkeypatch.setattr("covtool.checkpoints.pickles.settling.MOST_PARTS", 100_000)
    monkeypatch.setattr("covtool.checkpoints.pickles.machine.MOST_OPERATIONS", 200_000)
    body, said = SHARED[name]
    write(tmp_path / "a.pt", body)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(tmp_path / "a.pt")


def test_a_hundred_thousand_tensors_may_be_read():
    """What one tensor costs, times 100,000, is within what is read."""

    class Zeros:
        def untyped(self, record, dtype):
            return torch.UntypedStorage(16)

    hooks = b"\x89ccollections\nOrderedDict\n)R"
    source = Source(b"}" + text("w") + tensor(flags=hooks) + b"s.")
    settling = Settling(Zeros())
    assert settling.whole(Machine(source, storage_record).run())["w"].shape == (4,)
    assert 100_000 * (MOST_PARTS - settling._parts_left) < MOST_PARTS


def test_reasons_stay_short_whatever_is_in_a_shape(tmp_path):
    write(tmp_path / "a.pt", tensor(size=b"(" + number(2**5000) * 60 + b"t"))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert len(caught.value.reason) < 250


def test_the_format_of_an_old_file_may_be_anything(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "a.pt").read_bytes()
    doubled = b"\x80\x02]" + b"2\x86" * 60 + b"."
    (tmp_path / "b.pt").write_bytes(raw.replace(b"\x80\x02M\xe9\x03.", doubled, 1))
    with pytest.raises(CheckpointError, match=r"Its format is \("):
        read_checkpoint(tmp_path / "b.pt")


@pytest.mark.parametrize("key", [("model_ema.", 1), 7, None, 1.5])
def test_names_that_are_no_texts_are_read_as_texts(tmp_path, key):
    state = {"model_ema.a": torch.ones(2), "a": torch.ones(2), key: torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    assert str(key) in read_checkpoint(tmp_path / "a.pt", weights="raw").tensors

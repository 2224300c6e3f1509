import numpy as np
import pytest
import timm
import torch

from covtool.backbones import architectures, build_index
from covtool.backbones.architectures import cache_path, load_index
from covtool.backbones.fingerprint import is_relevant, timm_fingerprint, torchvision_fingerprints
from covtool.backbones.index import make_index, read_index, write_index

TINY = ("test_resnet", "test_vit")
MAX_BYTES = 1_500_000


@pytest.fixture(scope="module")
def shipped():
    return read_index(build_index.DEFAULT_OUTPUT)


@pytest.fixture
def newer_timm(tmp_path, monkeypatch, shipped):
    """A timm that is newer than its index: the path of an index without `TINY`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = [("timm", name) for name in timm.list_models("test_*")]
    monkeypatch.setattr(architectures, "installed_names", lambda: names)
    monkeypatch.setattr(architectures, "installed_versions", lambda: {"timm": "99.0"})
    known = [row for row, a in enumerate(shipped.architectures) if ("timm", a.name) in names]
    rows = [row for row in known if shipped.architectures[row].name not in TINY]
    index = make_index(shipped.only(rows).fingerprints(), {"timm": "98.0"})
    write_index(index, tmp_path / "old.xz")
    return tmp_path / "old.xz"


def test_the_shipped_index_is_small_and_says_which_versions_made_it(shipped):
    assert build_index.DEFAULT_OUTPUT.stat().st_size < MAX_BYTES
    assert set(shipped.versions) == {"timm", "torchvision"}
    assert len(shipped.architectures) > 1400


def test_the_index_covers_every_installed_architecture():
    known = {(a.library, a.name) for a in load_index().architectures}
    assert set(build_index.installed_names()) <= known


@pytest.mark.parametrize("name", timm.list_models("test_*"))
def test_the_index_is_what_the_installed_timm_builds(shipped, name):
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    (row,) = shipped.find("timm", name)
    expected = [(n, tuple(t.shape)) for n, t in state.items() if is_relevant(n)]
    assert list(shipped.tensors(row)) == expected


def test_an_index_reads_back_as_it_was_written(tmp_path):
    index = make_index([timm_fingerprint(name) for name in TINY], {"timm": "1"})
    write_index(index, tmp_path / "some.xz")
    read = read_index(tmp_path / "some.xz")
    assert read.architectures == index.architectures
    assert list(read.fingerprints()) == list(index.fingerprints())
    assert [path.name for path in tmp_path.iterdir()] == ["some.xz"]


@pytest.mark.parametrize("content", [b"", b"no index", None])
def test_what_is_no_index_is_refused(tmp_path, shipped, content):
    whole = build_index.DEFAULT_OUTPUT.read_bytes()
    path = tmp_path / "damaged.xz"
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match="not an index of architectures"):
        read_index(path)


def test_the_classifier_of_torchvision_is_found_by_building_it_for_two_numbers_of_classes():
    (vgg,) = torchvision_fingerprints("vgg11")
    assert vgg.architecture.classifiers == ("classifier.6",)
    with_aux, without_aux = torchvision_fingerprints("googlenet")
    assert with_aux.architecture.classifiers == ("aux1.fc2", "aux2.fc2", "fc")
    assert without_aux.architecture.arguments == {"aux_logits": False}


def test_only_the_classifiers_own_tensors_count_as_its(shipped):
    (row,) = shipped.find("timm", "test_resnet")
    end = shipped.ends[row]
    flags = shipped.is_classifier[end - shipped.lengths[row] : end]
    names = np.array([name for name, _ in shipped.tensors(row)])
    assert names[flags].tolist() == ["fc.weight", "fc.bias"]


def test_unknown_architectures_are_learned_once_and_kept(monkeypatch, shipped, newer_timm):
    seen = []

    def track(items, description, total):
        seen.append(total)
        yield from items

    index = load_index(track, shipped=newer_timm)
    assert seen == [len(TINY)]
    assert cache_path().is_file() and cache_path().is_relative_to(newer_timm.parent)
    for name in TINY:
        (row,), (original,) = index.find("timm", name), shipped.find("timm", name)
        assert index.tensors(row) == shipped.tensors(original)

    monkeypatch.setattr(architectures, "build_index", pytest.fail)
    assert load_index(shipped=newer_timm).architectures == index.architectures


def test_a_damaged_cache_is_made_anew(newer_timm):
    cache_path().parent.mkdir(parents=True)
    cache_path().write_bytes(b"cut short")
    assert load_index(shipped=newer_timm).find("timm", TINY[0])
    assert read_index(cache_path()).find("timm", TINY[0])


def test_a_home_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch, newer_timm):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_index(shipped=newer_timm).find("timm", TINY[0])


def test_architectures_that_the_installed_timm_lacks_are_left_out(monkeypatch, shipped):
    monkeypatch.setattr(architectures, "installed_names", lambda: [("timm", "test_resnet")])
    monkeypatch.setattr(
        architectures, "installed_versions", lambda: {"timm": "0", "torchvision": "0"}
    )
    assert [a.name for a in load_index().architectures] == ["test_resnet"]


def test_what_cannot_be_built_is_kept_without_tensors(monkeypatch, caplog):
    def broken(name):
        raise KeyError(name)

    monkeypatch.setattr(build_index, "timm_fingerprint", broken)
    index = build_index.build_index([("timm", "test_resnet")])
    assert index.lengths.tolist() == [0]
    assert "timm cannot build test_resnet" in caplog.text


def test_the_script_writes_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(build_index, "installed_names", lambda: [("timm", "test_resnet")])
    build_index.main(["--output", str(tmp_path / "one.xz")])
    assert read_index(tmp_path / "one.xz").find("timm", "test_resnet") == (0,)

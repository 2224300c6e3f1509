"""What an index holds, and files that are none."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hostile_texts import HOSTILE
from indexed_images import NAMES, PER_NAME, QUICK, make_net, write_gallery
from retrieval_models import make_model

from covtool.checkpoints.model_file import save
from covtool.checkpoints.other_files import RECORD_KEY
from covtool.checkpoints.tensor_checksum import text_checksum
from covtool.errors import ArgumentError, DataError, NonFiniteError, OutputExistsError
from covtool.evaluation.embed import EmbedRequest, embed
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.files import read_features
from covtool.evaluation.retrieve import RetrievalRequest, retrieve
from covtool.indexing.building import IndexRequest, build_index
from covtool.indexing.index_file import (
    RECORD_CHECKSUM_KEY,
    RecordInTheMaking,
    index_writer,
    read_index,
    read_record,
)
from covtool.indexing.search import SearchRequest, search_index
from covtool.specs import RetrievalSpec
from covtool.specs.indexing import IndexSpec


def build(net, people, path, **settings):
    return build_index(IndexRequest(source=net, images=(people,), output=path, **QUICK, **settings))


def rewritten(path, change):
    """Change the metadata of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_an_index_holds_the_features_and_labels_that_embed_writes(net, people, made, tmp_path):
    embed(EmbedRequest(source=net, images=people, output=tmp_path / "f.safetensors", **QUICK))
    embedded, indexed = read_features(tmp_path / "f.safetensors"), read_features(made)
    assert torch.equal(embedded.features, indexed.features)
    assert embedded.labels == indexed.labels
    assert len(indexed.labels) == len(NAMES) * PER_NAME
    record = read_record(made)
    assert (record.root, record.model.name) == (people.parent, str(net))
    assert record.input.size == (32, 32)


def test_the_same_images_make_the_same_bytes(net, people, made, tmp_path):
    build(net, people, tmp_path / "again.index")
    assert (tmp_path / "again.index").read_bytes() == made.read_bytes()


def test_features_in_memory_and_on_the_disk_are_the_same(made):
    read, mapped = read_index(made), read_index(made, mapped=True)
    assert torch.equal(read.features, mapped.features)
    assert read.labels == mapped.labels


@pytest.mark.parametrize("name", ["g.safetensors", "g", "g.csv", "g.onnx", "g.faiss"])
def test_another_suffix_is_refused_before_a_model_is_opened(people, tmp_path, name):
    with pytest.raises(ArgumentError, match="not the name of an index"):
        build("nowhere.pth", people, tmp_path / name)


def test_embed_does_not_write_an_index(net, people, tmp_path):
    with pytest.raises(ArgumentError, match="not the name of a file of features"):
        embed(EmbedRequest(source=net, images=people, output=tmp_path / "f.index", **QUICK))


def test_an_index_is_not_replaced_unasked(net, people, gallery):
    before = gallery.read_bytes()
    with pytest.raises(OutputExistsError):
        build(net, people, gallery)
    assert gallery.read_bytes() == before
    build(net, people, gallery, overwrite=True)


def test_features_that_are_not_finite_leave_nothing(net, people, tmp_path, monkeypatch):
    monkeypatch.setattr(
        FeatureExtractor,
        "__call__",
        lambda self, samples, track=None: iter([torch.full((20, 3), torch.nan)]),
    )
    with pytest.raises(NonFiniteError):
        build(net, people, tmp_path / "g.index")
    assert not list(tmp_path.iterdir())


def test_several_sources_have_paths_from_the_folder_that_they_are_in(net, tmp_path):
    for name in "ab":
        write_gallery(tmp_path / name, names=("x", "y"), count=2)
    done = build_index(
        IndexRequest(
            source=net,
            images=(tmp_path / "a" / "list.csv", tmp_path / "b", tmp_path / "b" / "x" / "0.png"),
            output=tmp_path / "g.index",
            **QUICK,
        )
    )
    labels = read_features(tmp_path / "g.index").labels
    assert done.record.root == tmp_path
    assert sorted(label.path for label in labels) == sorted(
        f"{name}/{person}/{number}.png" for name in "ab" for person in "xy" for number in "01"
    )
    assert any("1 image named more than once" in note for note in done.notes)


def test_an_image_with_two_identities_is_refused(net, tmp_path):
    write_gallery(tmp_path, names=("x", "y"), count=1)
    (tmp_path / "other.csv").write_text("path,identity\nx/0.png,z\ny/0.png,y\n")
    with pytest.raises(DataError, match="identity x, and with z"):
        build_index(
            IndexRequest(
                source=net,
                images=(tmp_path / "list.csv", tmp_path / "other.csv"),
                output=tmp_path / "g.index",
                **QUICK,
            )
        )


def test_unreadable_images_are_an_error_or_left_out(net, tmp_path):
    listed = write_gallery(tmp_path, names=("x", "y"), count=2)
    (tmp_path / "x" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        build(net, listed, tmp_path / "g.index")
    done = build(net, listed, tmp_path / "g.index", on_bad_image="skip")
    assert [path.name for path, _ in done.unreadable] == ["1.png"]
    assert [label.path for label in read_features(tmp_path / "g.index").labels] == [
        "x/0.png",
        "y/0.png",
        "y/1.png",
    ]


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("place", ["record", "labels", "features", "end"])
def test_damage_is_noticed(gallery, place, mapped):
    if place == "record":
        rewritten(gallery, lambda m: m.update({RECORD_KEY: m[RECORD_KEY].replace("cosine", "x")}))
    elif place == "labels":
        rewritten(gallery, lambda m: m.update(identities=m["identities"].replace("ann", "bob")))
    else:
        content = bytearray(gallery.read_bytes())
        content[-5] ^= 1
        gallery.write_bytes(bytes(content) if place == "features" else bytes(content)[:-8])
    with pytest.raises(DataError):
        read_index(gallery, mapped=mapped)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", '{"version": 2}', "null", "[" * 1000, '{"folder": 1}', *HOSTILE.values()],
)
def test_records_of_others_are_refused_in_one_sentence(gallery, text):
    checked = {RECORD_KEY: text}
    try:
        rewritten(gallery, lambda m: m.update(checked))
        rewritten(gallery, lambda m: m.update({RECORD_CHECKSUM_KEY: text_checksum(checked)}))
    except UnicodeEncodeError:
        pytest.skip("no JSON document holds it")
    with pytest.raises(DataError) as caught:
        read_record(gallery)
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


def test_a_file_beside_the_index_cannot_be_anywhere_else(gallery):
    def elsewhere(metadata):
        record = json.loads(metadata[RECORD_KEY])
        record["inverted_file"] = {
            "file": "../../x.faiss", "sha256": "0" * 64, "lists": 1, "probed": 1,
            "recall": 1, "recall_at": 1, "queries": 1,
        }  # fmt: skip
        metadata[RECORD_KEY] = json.dumps(record)
        metadata[RECORD_CHECKSUM_KEY] = text_checksum({RECORD_KEY: metadata[RECORD_KEY]})

    rewritten(gallery, elsewhere)
    with pytest.raises(DataError, match="damaged"):
        read_record(gallery)


def test_another_file_is_no_index(net, tmp_path):
    (net.parent / "photo.onnx").write_bytes(b"\x08\x0a\x12\x07covtool" + bytes(64))
    for path, reason in (
        (net, f"It is a model.\ncovtool index {net} IMAGES"),
        (tmp_path / "no.index", "There is no index"),
        (net.parent / "photo.onnx", "is not an index, nor any other file of safetensors"),
    ):
        with pytest.raises(DataError, match=reason):
            read_record(path)


def test_settings_of_a_threshold_without_one_are_refused(net, people, tmp_path):
    with pytest.raises(ArgumentError, match="--false-accept-rate has no effect"):
        build(net, people, tmp_path / "g.index", spec=IndexSpec(false_accept_rate=0.1))


def test_other_weights_and_other_images_have_another_fingerprint(net, people, tmp_path):
    prints = set()
    other = make_net(tmp_path / "other", seed=1)
    plain = IndexSpec()
    for number, (source, spec) in enumerate(
        [(net, plain), (other, plain), (net, IndexSpec(flip_test=True))]
    ):
        done = build(source, people, tmp_path / f"{number}.index", spec=spec)
        prints.add(done.record.fingerprint)
    assert len(prints) == 3


def test_a_copy_of_the_model_has_the_same_fingerprint(net, people, made, tmp_path):
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(net.read_bytes())
    done = build(copy, people, tmp_path / "g.index")
    assert done.record.fingerprint == read_record(made).fingerprint


def test_a_writer_needs_a_name_of_its_own(gallery):
    with pytest.raises(OutputExistsError):
        index_writer(gallery, RecordInTheMaking())


def test_an_index_of_a_later_covtool_is_no_damaged_one(gallery):
    def change(metadata):
        values = json.loads(metadata[RECORD_KEY])
        text = json.dumps({**values, "version": 2, "covtool_version": "9.0", "more": 1})
        metadata[RECORD_KEY] = text
        metadata[RECORD_CHECKSUM_KEY] = text_checksum({RECORD_KEY: text})

    rewritten(gallery, change)
    with pytest.raises(DataError, match="of version 2, and this covtool reads version 1") as told:
        read_record(gallery)
    assert "covtool 9.0 wrote it" in told.value.reason


def test_evaluate_searches_in_an_index_as_in_features(net, people, made, tmp_path):
    embed(EmbedRequest(source=net, images=people, output=tmp_path / "f.safetensors", **QUICK))
    files = (made, tmp_path / "f.safetensors")
    specs = [RetrievalSpec(distances_from=file) for file in files]
    asked = [RetrievalRequest(source=None, data=people, spec=spec, **QUICK) for spec in specs]
    one, other = (retrieve(request).result.figures() for request in asked)
    assert one == other


def test_a_model_in_half_precision_has_an_index(people, tmp_path):
    model = make_model().half()
    net = save(model, tmp_path / "half.safetensors")
    build(net, people, tmp_path / "g.index")
    assert read_index(tmp_path / "g.index").features.isfinite().all()


def test_paths_and_fingerprint_do_not_depend_on_the_working_folder(
    net, people, made, tmp_path, monkeypatch
):
    monkeypatch.chdir(people.parent)
    build(net, Path("list.csv"), tmp_path / "g.index")
    assert (tmp_path / "g.index").read_bytes() == made.read_bytes()
    monkeypatch.chdir(people.parent / "ann")
    asked = SearchRequest(index=tmp_path / "g.index", queries=(Path("0.png"),), **QUICK)
    assert search_index(asked).answers[0].hits[0].path == "ann/0.png"

"""What is compared, what is left out and why, and what is refused."""

import csv
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from comparing_cases import CLASSES, write_checkpoint, write_identities, write_stripes
from PIL import Image

from covtool.comparing import CompareRequest, compare, prepare_comparison, preparing, write_table
from covtool.comparing.retrieval_estimates import TrainingSearch
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    SurgeryError,
    UnknownVariantError,
)
from covtool.specs import ModelSource
from covtool.specs.comparing import CompareSpec, head_of, parse_head


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "net.pth")


def request_of(checkpoint: Path, data: Path, **spec: object) -> CompareRequest:
    return CompareRequest(
        sources=(ModelSource(name=str(checkpoint), arch="test_efficientnet"),),
        data=data,
        img_sizes=((64, 64),),
        spec=CompareSpec(**{"head": ("gap",), "tap": ("bn2",), **spec}),
        batch_size=8,
        workers=0,
    )


def copied(data: Path, root: Path) -> Path:
    """Copy the training images, so that a test may change them."""
    for file in data.glob("train/*/*.png"):
        place = root / file.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return root


def test_every_checkpoint_and_size_has_its_rows(tmp_path, checkpoint, data) -> None:
    other = write_checkpoint(tmp_path / "other.pth", "test_resnet")
    sources = (ModelSource(name=str(checkpoint)), ModelSource(name=str(other)))
    request = replace(
        request_of(checkpoint, data, tap=("auto",)),
        sources=sources,
        img_sizes=((64, 64), (96, 96)),
    )
    done = compare(request)
    assert {(Path(r.checkpoint).stem, r.img_size) for r in done.rows} == {
        (name, size) for name in ("net", "other") for size in ((64, 64), (96, 96))
    }
    assert len({row.label for row in done.rows}) == len(done.rows)
    assert all(row.label.startswith(("net 64 px", "net 96 px", "other ")) for row in done.rows)
    assert any(note.startswith(str(checkpoint)) for note in done.notes)
    assert [row.figure for row in done.rows] == sorted((r.figure for r in done.rows), reverse=True)
    assert sum(row.recommended for row in done.rows) == 1
    assert done.recommended.near_best
    assert all(row.interval[0] <= row.figure <= row.interval[1] for row in done.rows)


def test_head_that_cannot_be_built_is_left_out_with_the_reason(checkpoint, data) -> None:
    request = request_of(checkpoint, data, head=("gap", "isqrt:dim=8,gradient=taylor"))
    with pytest.raises(ArgumentError, match="gradient"):
        compare(request)
    small = replace(
        request_of(checkpoint, data, head=("gap", "isqrt:dim=8")), img_sizes=((32, 32),)
    )
    done = compare(small)
    assert [row.head.head for row in done.rows] == ["gap"]
    assert [row.head.head for row in done.left_out] == ["isqrt"]
    assert "one position" in done.left_out[0].reason


def test_head_takes_all_channels_of_a_narrow_tap_and_says_so(checkpoint, data) -> None:
    done = compare(request_of(checkpoint, data, head=("isqrt:dim=128",), tap=("blocks.4.0", "bn2")))
    dims = {row.taps[0]: row.head.dim for row in done.rows}
    assert dims == {"blocks.4.0": 64, "bn2": 128}
    assert any("64 at blocks.4.0" in note for note in done.notes)


def test_every_head_of_the_table_has_a_row(checkpoint, data) -> None:
    request = request_of(checkpoint, data, head=("all:dim=6,sketch-size=64",), tap=("blocks.4.0",))
    prepared = prepare_comparison(request)
    assert len(prepared.subjects[0].candidates) + len(prepared.subjects[0].left_out) == 16


def test_unknown_names_are_refused_with_the_nearest(checkpoint, data) -> None:
    for spec, guess in (
        ({"head": ("isqr",)}, "isqrt"),
        ({"head": ("isqrt:dims=8",)}, "dim"),
        ({"tap": ("block.4.0",)}, "blocks.4.0"),
    ):
        with pytest.raises(UnknownVariantError, match=f"Did you mean '{guess}'"):
            compare(request_of(checkpoint, data, **spec))


def test_tap_of_one_network_only_is_no_error(tmp_path, checkpoint, data) -> None:
    other = write_checkpoint(tmp_path / "other.pth", "test_resnet")
    sources = (ModelSource(name=str(checkpoint)), ModelSource(name=str(other)))
    done = compare(replace(request_of(checkpoint, data), sources=sources))
    assert {row.taps for row in done.rows} == {("bn2",)}


@pytest.mark.parametrize(
    "text, found",
    [
        ("isqrt", ("isqrt", {})),
        ("isqrt:dim=128", ("isqrt", {"dim": "128"})),
        ("mpn:alpha=0.3,vec=full", ("mpn", {"alpha": "0.3", "vec": "full"})),
    ],
)
def test_heads_are_read_as_they_are_written(text: str, found: tuple) -> None:
    assert parse_head(text) == found


@pytest.mark.parametrize("text", ["isqrt:dim", "isqrt:dim=", "isqrt:dim=8,dim=9", "isqrt:=8"])
def test_options_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        parse_head(text)
    with pytest.raises(ArgumentError, match="dim='many'"):
        head_of("isqrt", {"dim": "many"})


def test_random_weights_are_refused(checkpoint, data) -> None:
    source = ModelSource(name="test_efficientnet", from_scratch=True)
    with pytest.raises(CheckpointError, match="random weights"):
        compare(replace(request_of(checkpoint, data), sources=(source,)))


def test_one_class_is_refused(tmp_path, checkpoint, data) -> None:
    root = copied(data, tmp_path)
    for name in CLASSES[1:]:
        for file in (root / "train" / name).iterdir():
            file.unlink()
        (root / "train" / name).rmdir()
    with pytest.raises(DataError, match="single class"):
        compare(request_of(checkpoint, root))


def test_class_of_one_image_is_a_note(tmp_path, checkpoint, data) -> None:
    root = copied(data, tmp_path)
    for file in sorted((root / "train" / CLASSES[0]).iterdir())[1:]:
        file.unlink()
    assert any(
        "single training image" in note for note in compare(request_of(checkpoint, root)).notes
    )


def test_unreadable_images_end_it_or_are_left_out(tmp_path, checkpoint, data) -> None:
    root = copied(data, tmp_path)
    (root / "train" / CLASSES[0] / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        compare(request_of(checkpoint, root))
    done = compare(replace(request_of(checkpoint, root), on_bad_image="skip"))
    assert [path.name for path, _ in done.unreadable] == ["0.png"]
    assert done.images == 41
    assert "--on-bad-image" in done.rows[0].command


def test_equal_images_leave_no_row(tmp_path, checkpoint) -> None:
    for name in CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 64), "gray").save(tmp_path / "train" / name / f"{number}.png")
    with pytest.raises(SurgeryError, match="feature vectors are equal"):
        # Batches of one size: another size may round otherwise.
        compare(replace(request_of(checkpoint, tmp_path), batch_size=3))


def test_several_processes_are_refused(monkeypatch, checkpoint, data) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ArgumentError, match="one process"):
        compare(request_of(checkpoint, data))


def test_damaged_map_file_is_named(tmp_path, checkpoint, data) -> None:
    request = replace(request_of(checkpoint, data), work=tmp_path / "work")
    compare(request)
    for file in (tmp_path / "work").glob("*/*/part-*.safetensors"):
        file.write_bytes(b"no tensors")
    with pytest.raises(Exception, match=r"part-00000\.safetensors cannot be read"):
        compare(request)


def test_interrupted_pass_goes_on_where_it_was(tmp_path, checkpoint, data) -> None:
    request = replace(request_of(checkpoint, data), work=tmp_path / "work", batch_size=2)
    seen: list[int] = []

    def interrupted(items, description, total):
        if description == "feature maps":
            seen.append(total)
            for number, item in enumerate(items):
                if len(seen) == 1 and number == 10:
                    raise KeyboardInterrupt
                yield item
        else:
            yield from items

    with pytest.raises(KeyboardInterrupt):
        compare(request, track=interrupted)
    done = compare(request, track=interrupted)
    assert seen == [21, 13]  # a part of 8 batches was whole
    assert done.rows[0].figure == compare(replace(request, work=None)).rows[0].figure


def test_other_images_are_not_taken_for_those_of_the_work_folder(
    tmp_path, checkpoint, data
) -> None:
    root = copied(data, tmp_path / "data")
    request = replace(request_of(checkpoint, root), work=tmp_path / "work")
    compare(request)
    Image.new("RGB", (64, 64), "gray").save(root / "train" / CLASSES[0] / "0.png")
    compare(request)
    assert len(list((tmp_path / "work").iterdir())) == 2


def test_table_has_a_line_for_each_head(tmp_path, checkpoint, data) -> None:
    request = replace(
        request_of(checkpoint, data, head=("gap", "isqrt:dim=8")), img_sizes=((32, 32),)
    )
    write_table(compare(request), tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("label,checkpoint")
    assert "one position" in lines[2]


def test_retrieval_data_are_compared_by_search(tmp_path, checkpoint, data) -> None:
    listed = write_identities(data, tmp_path / "list.csv", per_identity=7)
    done = compare(request_of(checkpoint, listed, head=("gap", "isqrt:dim=8")))
    assert done.metric == "mAP"
    assert (done.images, done.queries, done.classes) == (42, 42, 6)
    assert all(0 < row.rank_1 <= 100 and 0 < row.figure < 100 for row in done.rows)
    assert all(row.has_interval for row in done.rows)
    assert not any("searched for" in note or "too few" in note for note in done.notes)


def test_sample_of_queries_and_few_identities_are_notes(
    tmp_path, monkeypatch, checkpoint, data
) -> None:
    listed = write_identities(data, tmp_path / "list.csv", per_identity=14)
    sampled = partial(TrainingSearch, most_queries=20)
    monkeypatch.setattr(preparing, "TrainingSearch", sampled)
    done = compare(request_of(checkpoint, listed))
    assert (done.images, done.queries) == (42, 20)
    told = " ".join(done.notes)
    assert "20 of 42 images that have a match are searched for, drawn at random" in told
    assert "images of 3 identities, and an interval needs 5: too few to tell rows apart" in told
    assert not done.rows[0].has_interval
    write_table(done, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert [row["queries"] for row in csv.DictReader(file)] == ["20"]


def test_few_images_are_a_note(tmp_path, checkpoint, data) -> None:
    root = copied(data, tmp_path)
    for number, name in enumerate(CLASSES):
        for file in sorted((root / "train" / name).iterdir())[2 if number == 0 else 1 :]:
            file.unlink()
    done = compare(request_of(checkpoint, root, head=("gap", "isqrt:dim=8")))
    assert done.queries is None
    assert any("of 4 images, and an interval needs 5: too few" in note for note in done.notes)
    assert all(row.near_best and not row.has_interval for row in done.rows)


def test_pairs_of_a_single_tap_are_refused(checkpoint, data) -> None:
    request = request_of(checkpoint, data, head=("gap", "isqrt:dim=8"), tap=("bn2",), pairs=2)
    with pytest.raises(ArgumentError, match="there are no two"):
        prepare_comparison(request)


def test_fewer_images_than_classes_are_refused(tmp_path, checkpoint, data) -> None:
    root = copied(data, tmp_path)
    shutil.copytree(root / "train" / CLASSES[0], root / "train" / "another")
    request = request_of(checkpoint, root, calibrate_images=len(CLASSES))
    with pytest.raises(ArgumentError, match="would never be recognized"):
        prepare_comparison(request)


def test_work_folder_that_cannot_be_made_is_refused(tmp_path, checkpoint, data) -> None:
    file = tmp_path / "file"
    file.touch()
    for work in (file, file / "maps"):
        with pytest.raises(ArgumentError, match="cannot be written"):
            prepare_comparison(replace(request_of(checkpoint, data), work=work))


def test_pairs_beyond_the_memory_are_refused(checkpoint, data) -> None:
    request = request_of(checkpoint, data, tap=("auto",), pairs=2, memory="10kB")
    with pytest.raises(ArgumentError, match="Gram matrix of 42 images"):
        compare(request)

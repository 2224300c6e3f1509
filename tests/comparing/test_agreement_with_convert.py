"""A row's figure is that of the file which its command writes: not nearly, exactly."""

import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from comparing_cases import HEADS, SIDE, write_checkpoint, write_stripes

from covtool.comparing import CompareRequest, Comparison, compare
from covtool.comparing.records import TOP_1
from covtool.conversion.of_comparison import conversion_of, convert_row
from covtool.errors import VerificationError
from covtool.specs import ModelSource
from covtool.specs.comparing import CompareSpec
from covtool_cli.commands.compare import _show


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data"))


def request_of(folder: Path, data: Path, name: str, **spec: object) -> CompareRequest:
    checkpoint = write_checkpoint(folder / f"{name.replace(':', '-')}.pth", name)
    source = ModelSource(name=str(checkpoint), arch=name)
    return CompareRequest(
        sources=(source,),
        data=data,
        img_sizes=((SIDE, SIDE),),
        spec=CompareSpec(**{"head": HEADS, **spec}),
        batch_size=8,
        workers=0,
    )


def require_agreement(request: CompareRequest, done: Comparison, folder: Path) -> None:
    for row in done.rows:
        asked = conversion_of(request, row, output=folder / "out.safetensors", overwrite=True)
        found = convert_row(asked, row, metric=TOP_1).calibration
        assert (found.left_out_top_1, found.left_out_loss) == (row.figure, row.left_out_loss)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext"])
def test_row_has_exactly_the_figure_of_its_conversion(tmp_path, data, name) -> None:
    request = request_of(tmp_path, data, name)
    done = compare(request)
    assert {row.head.head for row in done.rows} == {"gap", "isqrt", "gaussian"}
    assert any(row.figure < 100 for row in done.rows)
    require_agreement(request, done, tmp_path)


def test_map_that_functions_change_is_taken_from_a_converted_network(tmp_path, data) -> None:
    # torchvision's DenseNet has a ReLU in its own code between the last module and the pooling.
    request = request_of(
        tmp_path, data, "torchvision:densenet121", head=("isqrt:dim=8",), tap=("features.norm5",)
    )
    request = replace(request, spec=request.spec.model_copy(update={"calibrate_images": 12}))
    done = compare(request)
    assert any("pass of its own" in note for note in done.notes)
    require_agreement(request, done, tmp_path)


def test_another_figure_is_refused_and_the_file_stays(tmp_path, data) -> None:
    request = request_of(tmp_path, data, "test_efficientnet", head=("gap",), tap=("bn2",))
    row = replace(compare(request).rows[0], figure=12.5)
    asked = conversion_of(request, row, output=tmp_path / "out.safetensors", overwrite=False)
    with pytest.raises(VerificationError, match=r"12\.5 %"):
        convert_row(asked, row, metric=TOP_1)
    assert (tmp_path / "out.safetensors").exists()


def test_figures_do_not_depend_on_where_maps_are_kept(tmp_path, data) -> None:
    request = request_of(tmp_path, data, "test_efficientnet", head=("gap", "isqrt:dim=8"))
    in_memory = compare(request)
    in_files = compare(replace(request, spec=request.spec.model_copy(update={"memory": "1B"})))
    kept = replace(request, work=tmp_path / "work")
    first, again = compare(kept), compare(kept)
    figures = [[(row.label, row.figure) for row in done.rows] for done in (in_memory, in_files)]
    assert figures[0] == figures[1]
    for done in (first, again):
        assert sorted((row.label, row.figure) for row in done.rows) == sorted(figures[0])
    assert list((tmp_path / "work").glob("*/*/part-*.safetensors"))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_pairs_are_the_best_of_all_and_have_the_figures_of_their_conversions(
    tmp_path, data, name
) -> None:
    request = request_of(tmp_path, data, name, head=("gap", "isqrt:dim=8"), tap=("auto",), pairs=3)
    done = compare(request)
    pairs = [row for row in done.rows if len(row.taps) == 2]
    assert 2 <= len(pairs) <= 3
    require_agreement(request, replace(done, rows=tuple(pairs)), tmp_path)
    # What is left of the pairs is no better: each of them is fitted for real here.
    everything = compare(replace(request, spec=request.spec.model_copy(update={"pairs": 100})))
    figures = sorted((r.figure for r in everything.rows if len(r.taps) == 2), reverse=True)
    assert sorted((row.figure for row in pairs), reverse=True) == figures[: len(pairs)]


def test_a_row_says_where_no_exact_solution_fits(tmp_path, data) -> None:
    def compared(memory: float) -> tuple[CompareRequest, Comparison]:
        request = request_of(tmp_path, data, "test_efficientnet", calibrate_memory=memory)
        return request, compare(request)

    assert {row.projected_to for row in compared(4.0)[1].rows} == {None}
    request, done = compared(1e-4)
    sizes = [row.projected_to for row in done.rows if row.projected_to is not None]
    assert sizes
    assert all(1 <= size < done.images for size in sizes)
    assert f"~ approximate, {len(sizes)} of {len(done.rows)} rows" in (table := shown(done))
    assert table.count("~") > len(sizes)  # one a row, and the sentence
    require_agreement(request, done, tmp_path)


def shown(done: Comparison) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        _show(done, wide=True)
    return out.getvalue()

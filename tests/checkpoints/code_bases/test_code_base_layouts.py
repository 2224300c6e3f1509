"""Every layout of another code base is read into timm's names, and computes what it did."""

import re
from functools import cache

import pytest
import timm
import torch
import torchvision
from code_base_layouts import LAYOUTS, Layout

from covtool.backbones.architectures import load_index
from covtool.checkpoints.code_bases import CODE_BASES, Reading, read_code_bases
from covtool.checkpoints.code_bases.reading import has_signs

TOLERANCE = 1e-5


def build(layout: Layout) -> torch.nn.Module:
    library, _, name = layout.architecture.rpartition(":")
    if library == "torchvision":
        return torchvision.models.get_model(name, **layout.arguments).eval()
    return timm.create_model(name, **layout.arguments).eval()


@torch.no_grad()
def stirred(model: torch.nn.Module, zero: tuple[str, ...]) -> torch.nn.Module:
    """Weights of which none is like another, so that one in a wrong place shows."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in model.state_dict().items():
        if name in zero:
            tensor.zero_()
        elif name.endswith(("running_var", "weight", "gamma", "scale")) and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.0, generator=generator)
        elif name.endswith(("running_mean", "bias", "token", "_1", "_2")):
            tensor.normal_(0, 0.1, generator=generator)
    return model


def beside(layout: Layout) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(shape) for name, shape in layout.beside.items()}


def reading_of(layout: Layout, tensors: dict[str, torch.Tensor]) -> Reading:
    found = [r for r in read_code_bases(tensors) if r.code_base == layout.code_base]
    assert len(found) == 1
    return found[0]


@cache
def numbered_state(architecture: str) -> dict[str, torch.Tensor]:
    """The architecture's tensors, each full of a number of its own (and taking no room)."""
    library, _, name = architecture.rpartition(":")
    index = load_index()
    (row,) = index.find(library or "timm", name)
    return {
        name: torch.tensor(float(number + 1)).expand(shape)
        for number, (name, shape) in enumerate(index.tensors(row))
    }


def names_of(layout: Layout) -> str:
    return f"{layout.code_base}-{layout.architecture}"


every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=names_of)


@every_layout
def test_every_tensor_gets_its_own_name_and_shape_whatever_is_before_and_beside(layout):
    state = numbered_state(layout.architecture)
    state = {n: t if n not in layout.without else t * 0 for n, t in state.items()}
    if layout.arguments.get("num_classes") == 0:
        state = {n: t for n, t in state.items() if not re.match(r"head\.(fc\.)?(weight|bias)", n)}
    written = {**layout.write(state), **beside(layout)}
    for prefix in ("", "model.net."):
        tensors = {f"{prefix}{name}": written[name] for name in sorted(written)}
        reading = reading_of(layout, tensors)
        assert set(reading.tensors) == set(state)
        for name, tensor in reading.tensors.items():
            assert tensor.shape == state[name].shape
            ends = tensor.flatten()[:: max(1, tensor.numel() - 1)] if tensor.numel() else tensor
            assert (ends == state[name].flatten()[:1]).all()
        assert {f"{prefix}{name}" for name in layout.beside} <= set(reading.unused)
        assert reading.refusal == ""


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(row, marks=[pytest.mark.slow] * row.is_large, id=names_of(row))
        for row in LAYOUTS
    ],
)
def test_a_layout_is_read_strictly_and_computes_the_same(layout):
    model = stirred(build(layout), layout.without)
    tensors = layout.write(model.state_dict()) | beside(layout)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    reading = reading_of(layout, tensors)
    fresh = build(layout)
    fresh.load_state_dict(reading.tensors, strict=True)
    image = torch.randn(2, 3, layout.size, layout.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = model(image), fresh(image)
    assert (expected - found).abs().max() <= TOLERANCE * max(1, float(expected.abs().max()))
    assert expected.std() > 0
    assert list(tensors) == list(before)
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_every_row_has_a_layout():
    assert {layout.code_base for layout in LAYOUTS} == set(CODE_BASES.names)


def test_no_row_claims_a_native_file():
    index = load_index()
    listed = "\n".join(index.names) + "\n"
    found = (m for row in CODE_BASES for m in re.finditer(f"(?m){row.signs[0]}", listed))
    suspects = {
        listed[listed.rfind("\n", 0, m.start()) + 1 : listed.find("\n", m.start())] for m in found
    }
    claimed = set()
    for fingerprint in index.fingerprints():
        shapes = dict(fingerprint.tensors)
        if suspects.isdisjoint(shapes):
            continue
        names = "\n".join(shapes)
        claimed |= {
            (fingerprint.architecture.name, row.name) for row in CODE_BASES if has_signs(row, names)
        }
    assert suspects
    assert claimed == set()

"""Whatever is in a dump, it is run again or refused with the entry that is wrong."""

import pytest
import torch
from toy_data import write_toy_data
from training_runs import Recorder, make_request

from covtool.diagnosing.replaying import replay
from covtool.errors import CheckpointError, NonFiniteError
from covtool.training import finetune
from covtool.training.start import prepare


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """The dump of a run whose weights were spoilt after its second update."""
    made, original = [], prepare.assemble

    @torch.no_grad()
    def spoil():
        made[-1].model.layer3[0].conv1.weight[0, 0] = torch.nan

    folder, recorder = tmp_path_factory.mktemp("dump"), Recorder(at_update=2, do=spoil)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "assemble", lambda *a: made.append(original(*a)) or made[-1])
        with pytest.raises(NonFiniteError):
            finetune(make_request(write_toy_data(folder / "toy"), folder), observer=recorder)
    return recorder.plans[0].directory / "nonfinite.pt"


def batch(**changes):
    """Other entries of the batch."""
    return lambda content: {"batches": [{**content["batches"][0], **changes}]}


def entries(**changes):
    """Other entries of the dump."""
    return lambda content: changes


IMAGES = torch.ones(6, 3, 32, 32)
BROKEN = {
    "batches: It is not a list": entries(batches={}),
    "batches: It is": entries(batches=[]),
    "batches.0: It is a int": entries(batches=[1]),
    "batches.0.images": batch(images=IMAGES[0]),
    "batches.0.images: They": batch(images=IMAGES[:, :2]),
    "batches.0.images: They are": batch(images=IMAGES.int()),
    "batches.0.targets": batch(targets=torch.zeros(2, dtype=torch.int64)),
    "batches.0.targets: They name": batch(targets=torch.full((6,), 10**6)),
    "batches.0.share": batch(share="1"),
    "batches.0.generators": batch(generators={}),
    "model: It is a NoneType": entries(model=None),
    "model: It holds something other than named tensors": entries(model={"a": 1}),
    "model: There is no": entries(model={}),
    "model_ema": entries(model_ema=[]),
    "request: It is a list": entries(request=[]),
    "request: It has something other": entries(request={"lr": torch.ones(1)}),
    "recipe: It is a str": entries(recipe="x"),
    "scale": entries(scale=float("nan")),
    "loss": entries(loss="x"),
    "epoch": entries(epoch=-1),
    "update: ": entries(update=torch.ones(1)),
    "environment": entries(environment=None),
    "other": entries(other=1),
}


@pytest.mark.parametrize("key", BROKEN)
def test_what_is_wrong_in_a_dump_is_named(dump, tmp_path, key):
    content = torch.load(dump, weights_only=True)
    torch.save({**content, **BROKEN[key](content)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        replay(tmp_path / "a.pt")
    assert caught.value.reason.startswith(key)
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("key", ["problem", "model", "batches", "version", "environment"])
def test_what_is_missing_in_a_dump_is_an_error(dump, tmp_path, key):
    content = torch.load(dump, weights_only=True)
    del content[key]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError):
        replay(tmp_path / "a.pt")


def test_a_flipped_bit_in_a_dump_is_found(dump, tmp_path):
    raw = bytearray(dump.read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "a.pt").write_bytes(raw)
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        replay(tmp_path / "a.pt")
    assert "damaged" in caught.value.reason


def test_texts_of_a_dump_are_fit_for_a_terminal(dump, tmp_path):
    content = torch.load(dump, weights_only=True)
    torch.save({**content, "reason": "x\x1b[2J", "layer": "a\nb"}, tmp_path / "a.pt")
    result = replay(tmp_path / "a.pt")
    assert result.reason == r"x\x1b[2J"
    assert not result.reproduced

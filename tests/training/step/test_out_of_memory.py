import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from covering import pairs
from tolerances import FLOAT64
from toy_data import write_toy_data
from training_runs import Recorder

from covtool.errors import OutOfMemoryError
from covtool.processes import ALONE
from covtool.training import finetune, plan_finetune
from covtool.training.run.observer import SilentObserver
from covtool.training.start import prepare
from covtool.training.start.finetune import open_source, read_layout, resolve_defaults
from covtool.training.start.prepare import build_parts
from covtool.training.step.out_of_memory import InParts, is_out_of_memory
from covtool.training.step.update import update_


@pytest.fixture
def memory(monkeypatch):
    """Let models run out of memory above so many images, after their first layers."""
    original = prepare.assemble

    def limit(images, error=torch.OutOfMemoryError):
        def check(module, inputs):
            if len(inputs[0]) > images:
                raise error("CUDA out of memory. Tried to allocate 2.00 GiB.")

        def assemble(model, *rest):
            list(model.modules())[-1].register_forward_pre_hook(check)
            return original(model, *rest)

        monkeypatch.setattr(prepare, "assemble", assemble)

    return limit


def test_a_batch_that_does_not_fit_is_an_error_that_knows_a_smaller_one(asked, memory):
    memory(4)
    recorder = Recorder()
    with pytest.raises(OutOfMemoryError) as caught:
        finetune(asked(batch_size=6), observer=recorder)
    assert caught.value.message == "6 images at a time (--batch-size 6) do not fit into memory."
    assert caught.value.reason == "CUDA out of memory. Tried to allocate 2.00 GiB."
    assert "--auto-batch, or train with --batch-size 3 --grad-accum-steps 2" in caught.value.hint
    assert "The last good state is" in caught.value.hint
    assert torch.load(recorder.plans[0].directory / "checkpoints/last.pt", weights_only=True)


def test_auto_batch_halves_until_it_fits_and_remembers_that(asked, memory):
    memory(2)
    recorder = Recorder()
    result = finetune(asked(batch_size=6, auto_batch=True), observer=recorder)
    notes = [note for note in recorder.notes if "do not fit into memory" in note]
    assert len(notes) == 2  # not again in the next update, epoch, or evaluation
    assert notes[0].startswith("6 images at a time do not fit into memory: from step 1 on")
    assert "in parts of 2" in notes[1]
    assert "batch norms see 2 images at a time" in notes[1]
    saved = torch.load(result.directory / "checkpoints/last.pt", weights_only=True)
    assert saved["progress"]["micro_batch"] == 2
    assert len(recorder.steps) == 12


def test_not_even_one_image_is_the_end(asked, memory):
    memory(0)
    with pytest.raises(OutOfMemoryError, match="--batch-size 6 does not fit into memory, even in"):
        finetune(asked(batch_size=6, auto_batch=True))


def test_an_error_that_the_process_cannot_recover_from_is_reported_at_once(asked, monkeypatch):
    """oneDNN, once it has run out of memory, has no more primitives for any size."""
    original = prepare.assemble

    def fail(module, inputs):
        raise RuntimeError("could not create a primitive")

    def assemble(model, *rest):
        model.register_forward_pre_hook(fail)
        return original(model, *rest)

    monkeypatch.setattr(prepare, "assemble", assemble)
    recorder = Recorder()
    with pytest.raises(OutOfMemoryError, match="6 images at a time") as caught:
        finetune(asked(batch_size=6, auto_batch=True), observer=recorder)
    assert "Train with --batch-size 3 --grad-accum-steps 2" in caught.value.hint
    assert not any("do not fit" in note for note in recorder.notes)


def test_memory_that_runs_out_elsewhere_is_explained_too(asked):
    def fail():
        torch.empty(2**60)  # such as for the next batch, in this process

    recorder = Recorder(at_update=3, do=fail)
    with pytest.raises(OutOfMemoryError, match="out of memory after step 3") as caught:
        finetune(asked(auto_batch=True), observer=recorder)
    assert "can't allocate memory" in caught.value.reason
    assert "fewer --workers or a smaller --batch-size" in caught.value.hint


def test_an_update_that_has_begun_to_change_weights_is_not_tried_again(asked, monkeypatch):
    """An optimizer allocates its moments in the first step."""
    original = prepare.assemble

    def fail(optimizer, args, kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def assemble(*given):
        parts = original(*given)
        parts.optimizer.register_step_pre_hook(fail)
        return parts

    monkeypatch.setattr(prepare, "assemble", assemble)
    recorder = Recorder()
    with pytest.raises(OutOfMemoryError, match="out of memory after step 0"):
        finetune(asked(auto_batch=True), observer=recorder)
    assert not any("do not fit" in note for note in recorder.notes)


REALLY = """
import resource, sys
import torch
from training_runs import Recorder, make_request
from covtool.training import finetune

torch.backends.mkldnn.set_flags(False)  # it does not recover from what is about to happen


def used():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


class Cramped(Recorder):
    def on_start(self, plan):
        resource.setrlimit(resource.RLIMIT_DATA, (used() + 250 * 2**20, resource.RLIM_INFINITY))


settings = {"img_size": 96, "batch_size": 256, "aug": False, "epochs": 1, "auto_batch": True}
recorder = Cramped()
finetune(make_request(sys.argv[1], sys.argv[2], **settings), observer=recorder)
print(*recorder.notes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux limits memory so")
def test_memory_that_really_runs_out(tmp_path):
    data = write_toy_data(tmp_path / "many", train=86, val=4)
    done = subprocess.run(
        [sys.executable, "-c", REALLY, data, tmp_path / "runs"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "256 images at a time do not fit into memory" in done.stdout
    state = torch.load(
        tmp_path / "runs/finetune/test_resnet/checkpoints/last.pt", weights_only=True
    )
    assert state["progress"]["updates"] == 1
    assert 1 <= state["progress"]["micro_batch"] <= 128


def test_a_dry_run_tells_it_too(asked, memory):
    memory(4)
    with pytest.raises(OutOfMemoryError, match=r"6 images at a time \(--batch-size 6\)"):
        plan_finetune(asked(batch_size=6))
    recorder = Recorder()
    plan_finetune(asked(batch_size=6, auto_batch=True), observer=recorder)
    assert any("in parts of 3" in note for note in recorder.notes)


def test_without_batch_norm_the_run_is_the_one_with_enough_memory(asked, memory):
    """Dropout draws other numbers for other sizes; this network has none."""
    settings = {"model": "test_convnext", "batch_size": 6, "mixup": 0.4, "opt": "momentum"}
    whole, cut = Recorder(), Recorder()
    finetune(asked(**settings), observer=whole)
    memory(2)
    finetune(asked(**settings, auto_batch=True), observer=cut)
    for one, other in zip(whole.steps, cut.steps, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)


@pairs(micro_batch=[1, 4], mixup=[0.0, 0.4], accum=[1, 2])
def test_the_gradient_is_that_of_the_whole_batch(asked, micro_batch, mixup, accum):
    request = resolve_defaults(
        asked(model="test_convnext", mixup=mixup, grad_accum_steps=accum), ALONE
    )
    observer = SilentObserver()
    layout = read_layout(request, observer)
    parts = build_parts(open_source(request, observer, ALONE), request, layout, observer, ALONE)
    parts.model.double()
    parts.begin_epoch(0)
    batches = [(i.double(), t) for i, t in list(parts.training_batches)[:accum]]

    def gradient(size):
        prepare.seed_everything(1)
        result = update_(parts, batches, size, updates=0, only_gradient=True)
        return result, {n: p.grad.clone() for n, p in parts.model.named_parameters()}

    (whole, expected), (cut, got) = gradient(None), gradient(micro_batch)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-12)
    assert cut.images == whole.images == 6 * accum
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, msg=name, **FLOAT64)


def test_what_out_of_memory_looks_like():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("posix_memalign failed:Cannot allocate memory (12)"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a pool"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_parts_hold_every_image_in_order():
    batches = [(torch.arange(5), torch.arange(5)), (torch.arange(5, 7), torch.arange(5, 7))]
    parts = list(InParts(batches, 2))
    assert [len(images) for images, _ in parts] == [2, 2, 1, 2]
    assert torch.cat([labels for _, labels in parts]).tolist() == list(range(7))
    assert [images.tolist() for images, _ in InParts(batches, None)] == [[0, 1, 2, 3, 4], [5, 6]]


def test_a_batch_norm_that_is_left_with_one_image_says_so(asked, memory):
    memory(1)
    recorder, settings = Recorder(), {"batch_size": 4, "auto_batch": True, "epochs": 1}
    finetune(asked(img_size=64, **settings), observer=recorder)
    assert any("batch norms see 1 image at a time" in note for note in recorder.notes)
    # At this size the last of them sees a single number per channel, and torch refuses.
    with pytest.raises(OutOfMemoryError, match=r"--batch-size 4 does not fit .* even in") as caught:
        finetune(asked(img_size=32, **settings))
    assert caught.value.reason == "A single image is too few for a batch norm."

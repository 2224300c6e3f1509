"""Every setting of a run either may change when the run is resumed, or is refused.

A new field of the request, or of one of its groups, fails the first test until it has a row here.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from training_runs import SilentObserver, make_request

from covtool.errors import ArgumentError
from covtool.run_files import ARGUMENTS
from covtool.specs import as_flag
from covtool.specs.finetuning import PHASED, SETTINGS
from covtool.training import resume_finetune
from covtool.training.start.resume import MAY_CHANGE


class Change:
    """Another value of a setting, and settings without which the run would not take it."""

    def __init__(self, now: Any, needs: dict[str, Any] | None = None) -> None:
        self.now, self.needs = now, needs or {}


FOLD = {"folds": 2, "fold": 1}
PK = {"sampler": "pk", "batch_size": 8}
MAY = {
    "epochs": Change(3),
    "data": Change("/elsewhere"),
    "on_bad_image": Change("skip"),
    "device": Change("auto"),
    "workers": Change(1),
    "patience": Change(4),
    "tensorboard": Change(True),
    "log": Change(["mlflow"]),
    "keep_neighbors": Change(True),
    "checkpoint_hist": Change(2),
    "save_every_steps": Change(9),
    "save_retries": Change(5),
    "on_nonfinite": Change("skip"),
    "nonfinite_limit": Change(20),
    "auto_batch": Change(True),
    "nproc": Change(1, {"nproc": 2}),  # the number that the launcher has started, whatever is asked
    "dist_timeout": Change(60.0),
    "cache_memory": Change("1GB", {"cache": "ram"}),
    "cache_dir": Change("/cache", {"cache": "disk"}),
    "rri": Change(3),
    "stop_delta": Change(0.1),
    "max_memory": Change("1GB", FOLD),
}
REFUSED = {
    "model": Change("test_vit"),
    "init_from": Change("other.pt"),
    "arch": Change("resnet18"),
    "iterations": Change(3),
    "weights": Change("raw"),
    "classifier_layer": Change("fc"),
    "from_scratch": Change(False),
    "new_classifier": Change(True),
    "output": Change("elsewhere"),
    "experiment": Change("other"),
    "preset": Change("textures"),
    "batch_size": Change(8),
    "opt": Change("adamw"),
    "momentum": Change(0.5),
    "opt_betas": Change([0.9, 0.99], {"opt": "adamw"}),
    "weight_decay": Change(0.1),
    "clip_grad": Change(1.0),
    "grad_accum_steps": Change(2),
    "lr": Change(0.1),
    "head_lr_mult": Change(1.0),
    "layer_decay": Change(0.5),
    "sched": Change("step"),
    "warmup_epochs": Change(1.0),
    "warmup_lr": Change(1e-6),
    "min_lr": Change(1e-6),
    "decay_epochs": Change(5.0, {"sched": "step"}),
    "decay_milestones": Change([2], {"sched": "multistep", "decay_milestones": [1], "epochs": 3}),
    "decay_rate": Change(0.5, {"sched": "step"}),
    "smoothing": Change(0.2),
    "mixup": Change(0.4),
    "cutmix": Change(0.4),
    "mixup_off_epoch": Change(1, {"mixup": 0.4}),
    "model_ema": Change(True),
    "model_ema_decay": Change(0.9, {"model_ema": True}),
    "gc": Change(True),
    "gc_conv_only": Change(True, {"gc": True}),
    "gc_on": Change("update", {"gc": True}),
    "seed": Change(7),
    "val_fraction": Change(0.2),
    "weight_projection": Change(1),
    "projection_norm": Change(2.0),
    "orthogonality": Change(0.1),
    "weighted_gradients": Change(True),
    "freeze": Change(["layer1.*"]),
    "freeze_epochs": Change(1),
    "head_schedule": Change("isqrt@0,mpn@1"),
    "resolve_head": Change("on"),
    "bn_stats": Change("train"),
    "amp": Change(True),
    "amp_dtype": Change("bfloat16", {"amp": True}),
    "tf32": Change(True),
    "grad_checkpointing": Change(True),
    "channels_last": Change(True),
    "torchcompile": Change(True),
    "torchcompile_mode": Change("default", {"torchcompile": True}),
    "eval_metric": Change("loss"),
    "loss": Change("bce"),
    "triplet_margin": Change(0.5, {"loss": "ce+triplet", **PK}),
    "circle_margin": Change(0.5, {"loss": "ce+circle", **PK}),
    "circle_scale": Change(32.0, {"loss": "ce+circle", **PK}),
    "sampler": Change("balanced"),
    "num_instances": Change(2, {**PK}),
    "aug": Change(False),
    "scale": Change([0.5, 1.0]),
    "ratio": Change([0.5, 2.0]),
    "hflip": Change(0.0),
    "vflip": Change(0.5),
    "color_jitter": Change(0.0),
    "aa": Change("rand-m9"),
    "reprob": Change(0.5),
    "remode": Change("const", {"reprob": 0.5}),
    "train_interpolation": Change("bilinear"),
    "cache": Change("ram"),
    "cache_side": Change(64, {"cache": "ram"}),
    "exact_decode": Change(True),
    "sync_bn": Change(True),
    "img_size": Change("64"),
    "mean": Change("0.1,0.1,0.1"),
    "std": Change("0.1,0.1,0.1"),
    "interpolation": Change("bilinear"),
    "crop_pct": Change(0.9),
    "crop_mode": Change("squash"),
    "exif": Change(False),
    "test_classes": Change(0.5),
    "labels": Change("labels.csv"),
    "data_split": Change(2),
    "crop": Change("boxes"),
    "class_folders": Change("inner"),
    "seeds": Change(3, {"seeds": 2}),
    "folds": Change(3, FOLD),
    "fold": Change(2, FOLD),
    "base_epochs": Change(2),
    "restraint_epochs": Change(3),
    "relaxation_epochs": Change(3),
    "lrs": Change([0.01]),
    "decomposition": Change("qr"),
    "reorder": Change(False),
    "assignment": Change("optimal"),
    "classifier": Change("reset"),
    "feature": Change("pooled", FOLD),
    "flip_test": Change(True, FOLD),
    "metric": Change("euclidean", FOLD),
    "cameras": Change(False, FOLD),
}


class FirstNote(Exception):  # noqa: N818 -- not an error: the run has come as far as it should
    """The first note of a run."""


class StoppedByNote(SilentObserver):
    """Ends a run with its first note, before anything is opened."""

    def on_note(self, text: str) -> None:
        raise FirstNote(text)


PLAIN_SETTINGS = make_request("data", "runs").to_arguments().keys()
PHASED_SETTINGS = make_request("data", "runs", PHASED).to_arguments().keys()


def resume_with(name: str, change: Change, folder: Path) -> None:
    """Resume a run of these arguments, with another value of one."""
    specs = SETTINGS if name in PLAIN_SETTINGS else PHASED
    request = make_request("/data", "/runs", specs, **change.needs)
    (folder / ARGUMENTS).write_text(yaml.safe_dump(request.to_arguments()))
    resume_finetune(folder, changes={name: change.now}, observer=StoppedByNote())


def test_every_setting_has_a_row() -> None:
    assert not MAY.keys() & REFUSED.keys()
    assert MAY.keys() | REFUSED.keys() == PLAIN_SETTINGS | PHASED_SETTINGS
    assert set(MAY_CHANGE) == MAY.keys()


@pytest.mark.parametrize("name", MAY)
def test_what_may_change_is_noted(name: str, tmp_path: Path) -> None:
    with pytest.raises(FirstNote, match=f"^{as_flag(name)} changes from "):
        resume_with(name, MAY[name], tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_change_is_refused(name: str, tmp_path: Path) -> None:
    refused = f"^{as_flag(name)} is .* now, but the run was started with"
    with pytest.raises(ArgumentError, match=refused):
        resume_with(name, REFUSED[name], tmp_path)

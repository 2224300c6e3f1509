"""Everything that a training run consists of, put together from its settings."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from covtool.backbones.device import resolve_device
from covtool.data.datasets.fingerprint import fingerprint
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.data.datasets.samples import Sample
from covtool.data.loading.batch_sampler import Shard
from covtool.data.loading.loaders import ImageLoader, evaluation_loader, training_loader
from covtool.errors import ArgumentError
from covtool.processes import Processes, current
from covtool.specs import FinetuneRequest, Recipe, TrainingSpec
from covtool.training.centralization.hooks import (
    Centralization,
    centralize_gradients,
    layer_weights,
)
from covtool.training.parts.embedding import WithEmbeddings
from covtool.training.parts.filter_constraints import FilterConstraints, constrain_
from covtool.training.parts.freezing import (
    FreezeSchedule,
    keep_batch_statistics_,
    plan_freezing,
    set_train_mode_,
    set_trainable_,
    without_classifier,
)
from covtool.training.parts.gradient_checkpointing import checkpoint_gradients_
from covtool.training.parts.head import Head
from covtool.training.parts.head_schedule import HeadSchedule, plan_head_schedule
from covtool.training.parts.objective import Objective
from covtool.training.parts.optimizer import Schedule, build_optimizer, forget_
from covtool.training.parts.parameter_groups import (
    ParameterGroup,
    optimizer_groups,
    plan_parameter_groups,
)
from covtool.training.parts.replica import Replica, make_replica
from covtool.training.parts.restraint_relaxation import (
    PhasedFreezing,
    PhasedSchedule,
    RestraintRelaxation,
    plan_restraint_relaxation,
)
from covtool.training.parts.synchronizing import synchronize_batch_norms_


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The images of a run.

    Attributes:
        root: Folder of the data set.
        training: Readable images to train on; or `CachedImages` of them.
        validation: Readable images to evaluate on; or `CachedImages` of them.
        left_out: Images that could not be read when the run started.
        searched: Identities and cameras of `validation`, where a search judges the model.
    """

    root: Path
    training: Sequence[Sample]
    validation: Sequence[Sample]
    left_out: frozenset[Path] = frozenset()
    searched: RetrievalLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run consists of.

    Attributes:
        model: Its weights are trained in place.
        eager: The model as the objective wants it: where a loss needs embeddings, they come beside
            the logits; the weights are the same.
        forward: The same, compiled where that is asked for; of several processes, it averages
            their gradients.
        processes: That train it together.
        head: Of the model.
        freezing: Which parameters are trained in which epoch.
        groups: The parameters that are trained at some time, in groups.
        optimizer: Over these groups.
        fresh_optimizer: Its state before its first step.
        centralization: Of the optimizer's gradients, or None.
        schedule: Of its learning rates.
        scaler: Of the loss; does nothing without float16.
        ema: The moving average of the model, or None.
        objective: The loss.
        constraints: What is asked of the filters of decoupled convolutions.
        training_batches: Varied at random.
        validation_batches: In order.
        device: Where the model is.
        request: The settings.
        recipe: Of the model, with the data's classes and the head that it came with.
        data: The images.
        fingerprints: Of the images, by split.
        heads: Which head is in use in which epoch; None for a model without a covtool head.
        phases: Of SVDNet's training, or None.
    """

    model: nn.Module
    eager: nn.Module
    forward: Replica
    processes: Processes
    head: Head
    freezing: FreezeSchedule | PhasedFreezing
    groups: tuple[ParameterGroup, ...]
    optimizer: Optimizer
    fresh_optimizer: dict[str, Any]
    centralization: Centralization | None
    schedule: Schedule | PhasedSchedule
    scaler: torch.amp.GradScaler
    ema: ModelEmaV3 | None
    objective: Objective
    constraints: FilterConstraints
    training_batches: ImageLoader
    validation_batches: ImageLoader
    device: torch.device
    request: FinetuneRequest
    recipe: Recipe
    data: TrainingData
    fingerprints: dict[str, str]
    heads: HeadSchedule | None
    phases: RestraintRelaxation | None

    @property
    def training(self) -> TrainingSpec:
        """The settings of optimizer, schedule and regularization."""
        return self.request.training

    @property
    def updates_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return _updates(self.training_batches, self.training)

    @property
    def evaluated(self) -> nn.Module:
        """What is evaluated and exported: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The model, and its moving average where there is one."""
        return (self.model,) if self.ema is None else (self.model, self.ema.module)

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass."""
        dtype = getattr(torch, self.training.amp_dtype)
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.training.amp)

    def recipe_at(self, epoch: int) -> Recipe:
        """Return the recipe of the model as it is in an epoch, counted from 0."""
        return self.recipe if self.heads is None else self.heads.recipe(self.recipe, epoch)

    def notes(self, epoch: int) -> tuple[str, ...]:
        """Return what is different from an epoch, counted from 0, on."""
        told = (self.phases, self.heads, self.freezing)
        notes = (schedule.note(epoch) for schedule in told if schedule is not None)
        return tuple(note for note in notes if note)

    def enter_epoch_(self, epoch: int) -> None:
        """Change weights before the first update of an epoch from 0 on, where a phase begins."""
        if self.phases is not None:
            self.phases.enter_(
                self.models,
                epoch,
                forget=partial(forget_, self.optimizer, self.fresh_optimizer),
                seed=self.training.seed,
                processes=self.processes,
            )

    def begin_epoch(self, epoch: int, *, step: int = 0) -> None:
        """Order of the images, mixing, head, what is frozen, modes: for an epoch from 0 on.

        Args:
            epoch: Counted from 0.
            step: Updates of it that are done; their images are not read again.
        """
        if self.heads is not None and self.heads.phases:
            self.heads.switch_(self.models, epoch)
        start = step * self.training.grad_accum_steps
        self.training_batches.set_epoch(epoch, start=start)
        self.objective.set_epoch(epoch)
        set_trainable_(self.model, self.freezing.at(epoch))
        set_train_mode_(self.model)
        if self.training.bn_stats == "keep":
            keep_batch_statistics_(self.model, self.head)
        self.forward.renew_()


def assemble(
    model: nn.Module,
    recipe: Recipe,
    head: Head,
    data: TrainingData,
    request: FinetuneRequest,
) -> Parts:
    """Put a run together, for the processes that this one has joined; moves the model to a device.

    Args:
        model: To be trained in place.
        recipe: Of the model, with the data's classes.
        head: Of the model.
        data: For training and for validation.
        request: The settings.

    Raises:
        ArgumentError: The optimizer, the device, the layers to freeze, a head of the schedule,
            filters to constrain or an Eigenlayer do not exist.
    """
    training, processes = request.training, current()
    device = resolve_device(training.device, processes)
    recipe = constrain_(model, recipe, training)
    heads = plan_head_schedule(training.head_schedule, model, recipe, epochs=training.epochs)
    freezing, phases = _freezing(model, head, request)
    model = _on_device(model, recipe, request, device, processes)
    set_trainable_(model, freezing.trained)
    groups = plan_parameter_groups(model, head, training)
    optimizer = build_optimizer(optimizer_groups(model, groups, training.lr), training)
    batches = _loaders(data, recipe, request, device, processes)
    embeds = request.objective.needs("embeddings")
    eager = WithEmbeddings(model, head.classifier) if embeds else model
    return Parts(
        model=model,
        eager=eager,
        forward=make_replica(eager, processes, recipe.input, compiled=training.torchcompile),
        processes=processes,
        head=head,
        freezing=freezing,
        groups=groups,
        optimizer=optimizer,
        fresh_optimizer=deepcopy(optimizer.state_dict()),
        centralization=_centralization(optimizer, model, training),
        schedule=_schedule(
            optimizer, training, phases, _updates(batches["training_batches"], training)
        ),
        scaler=torch.amp.GradScaler(
            device.type, enabled=training.amp and training.amp_dtype == "float16"
        ),
        ema=_moving_average(model, training),
        objective=Objective(request.objective, training, recipe.num_classes, processes),
        constraints=FilterConstraints(model),
        device=device,
        request=request,
        recipe=recipe,
        data=data,
        fingerprints={
            "training": fingerprint(data.training, data.root),
            "validation": fingerprint(data.validation, data.root),
        },
        heads=heads,
        phases=phases,
        **batches,
    )


def _freezing(
    model: nn.Module, head: Head, request: FinetuneRequest
) -> tuple[FreezeSchedule | PhasedFreezing, RestraintRelaxation | None]:
    """Return what is trained when, and the phases that have a part in that."""
    training, svdnet = request.training, request.svdnet
    freezing = plan_freezing(model, head, training.freeze_rules)
    if not request.objective.needs("logits"):
        freezing = without_classifier(freezing, head, request.objective.loss)
    if svdnet is None:
        return freezing, None
    phases = plan_restraint_relaxation(model, svdnet, base_lr=training.lr)
    phased = PhasedFreezing(others=freezing, phases=phases)
    phased.require_something_to_train()
    return phased, phases


def _on_device(
    model: nn.Module,
    recipe: Recipe,
    request: FinetuneRequest,
    device: torch.device,
    processes: Processes,
) -> nn.Module:
    """Return the model where it is trained, and as memory and other processes ask for it."""
    training = request.training
    if training.grad_checkpointing:
        checkpoint_gradients_(model, recipe.base.name)
    if request.processes.sync_bn and processes.world > 1:
        model = synchronize_batch_norms_(model, device)
    layout = torch.channels_last if training.channels_last else torch.preserve_format
    return model.to(device, memory_format=layout)


def _loaders(
    data: TrainingData,
    recipe: Recipe,
    request: FinetuneRequest,
    device: torch.device,
    processes: Processes,
) -> dict[str, Any]:
    if len(data.training) < processes.world:
        raise ArgumentError(
            f"{len(data.training)} training images are too few for {processes.world} processes.",
            hint="Start fewer processes.",
        )
    shared = {
        "batch_size": request.training.batch_size,
        "workers": request.training.workers,
        "on_bad_image": request.training.on_bad_image,
        "device": device,
    }
    return {
        "training_batches": training_loader(
            data.training,
            recipe.input,
            request.augmentation,
            objective=request.objective,
            seed=request.training.seed,
            shard=Shard(processes.rank, processes.world),
            **shared,
        ),
        "validation_batches": evaluation_loader(
            data.validation, recipe.input, select_batches=processes.part_of, **shared
        ),
    }


def _centralization(
    optimizer: Optimizer, model: nn.Module, training: TrainingSpec
) -> Centralization | None:
    if not training.gc:
        return None
    weights = layer_weights(model, conv_only=training.gc_conv_only)
    return centralize_gradients(optimizer, on=training.gc_on, only=weights, in_place=True)


def _schedule(
    optimizer: Optimizer,
    training: TrainingSpec,
    phases: RestraintRelaxation | None,
    updates_per_epoch: int,
) -> Schedule | PhasedSchedule:
    if phases is None:
        return Schedule(optimizer, training, updates_per_epoch=updates_per_epoch)
    return PhasedSchedule(optimizer, training, phases.phases, updates_per_epoch=updates_per_epoch)


def _moving_average(model: nn.Module, training: TrainingSpec) -> ModelEmaV3 | None:
    if not training.model_ema:
        return None
    return ModelEmaV3(model, decay=training.model_ema_decay, use_warmup=True)


def _updates(batches: ImageLoader, training: TrainingSpec) -> int:
    return -(-len(batches) // training.grad_accum_steps)

"""The parts of a training run, put together from its settings."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
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
from covtool.processes import Processes
from covtool.specs import FinetuneRequest, Recipe, TrainingSpec
from covtool.training.centralization.hooks import (
    Centralization,
    centralize_gradients,
    layer_weights,
)
from covtool.training.parts.acceleration import (
    checkpoint_gradients_,
    loss_scaler,
    require_graphs,
    require_recomputable,
    synchronize_batch_norms_,
)
from covtool.training.parts.filter_constraints import FilterConstraints, constrain_
from covtool.training.parts.freezing import (
    FreezeSchedule,
    keep_batch_statistics_,
    plan_freezing,
    set_train_mode_,
    set_trainable_,
    without_classifier,
)
from covtool.training.parts.head import ClassifierHead
from covtool.training.parts.head_schedule import HeadSchedule, plan_head_schedule
from covtool.training.parts.objective import Objective, WithEmbeddings
from covtool.training.parts.optimizer import build_optimizer, forget_
from covtool.training.parts.parameter_groups import (
    ParameterGroup,
    optimizer_groups,
    plan_parameter_groups,
)
from covtool.training.parts.phases import TrainingPhases, single_phase
from covtool.training.parts.replica import Replica, make_replica
from covtool.training.parts.restraint_relaxation import plan_restraint_relaxation
from covtool.training.parts.schedule import Schedule
from covtool.training.parts.solved_head import SolvedHead, plan_solved_head


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The images of a run.

    Attributes:
        root: Folder of the data set.
        training: Readable images to train on; or `CachedImages` of them.
        validation: Readable images to evaluate on; or `CachedImages` of them.
        left_out: Images that could not be read when the run started.
        searched: Identities and cameras of `validation`, if a search judges the model.
    """

    root: Path
    training: Sequence[Sample]
    validation: Sequence[Sample]
    left_out: frozenset[Path] = frozenset()
    searched: RetrievalLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a run.

    Attributes:
        model: Model that is trained in place.
        eager: Model as the objective takes it: where a loss needs embeddings, they come beside
            the logits; the weights are the same.
        forward: The same, compiled where that is asked for; of several processes, it averages
            their gradients.
        processes: Processes that train together.
        head: Head of the model.
        freezing: Parameters that are trained, by epoch.
        groups: The parameters that are trained at some time, in groups.
        optimizer: Over these groups.
        fresh_optimizer: Its state before its first step.
        centralization: Gradient centralization of the optimizer, or None.
        schedule: Learning rates of the optimizer's groups.
        scaler: Scaler of the loss; does nothing without float16.
        ema: The moving average of the model, or None.
        objective: The loss.
        constraints: Constraints on the filters of decoupled convolutions.
        training_batches: Batches to train on, varied at random.
        validation_batches: Batches to evaluate on, in order.
        device: Device of the model.
        request: Settings of the run.
        recipe: Recipe of the model, with the data's classes and the head that it came with.
        data: Images of the run.
        fingerprints: Fingerprints of the images, by split.
        heads: Head in use, by epoch; None for a model without a covtool head.
        phases: Phases of the run.
        solved: The model that is judged with a classifier solved anew, or None.
    """

    model: nn.Module
    eager: nn.Module
    forward: Replica
    processes: Processes
    head: ClassifierHead
    freezing: FreezeSchedule
    groups: tuple[ParameterGroup, ...]
    optimizer: Optimizer
    fresh_optimizer: dict[str, Any]
    centralization: Centralization | None
    schedule: Schedule
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
    phases: TrainingPhases
    solved: SolvedHead | None

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
        """What is evaluated and exported: `trained`, with a solved classifier where there is one.

        That classifier is of the last evaluation: `solve_head_` brings it to the weights as they
        are.
        """
        return self.trained if self.solved is None else self.solved.model

    @property
    def trained(self) -> nn.Module:
        """What training gives: the moving average where there is one."""
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
        """Return sentences on what changes with an epoch, counted from 0."""
        plans = (self.phases, self.heads, self.freezing)
        notes = (plan.note(epoch) for plan in plans if plan is not None)
        return tuple(note for note in notes if note)

    def enter_epoch_(self, epoch: int) -> None:
        """Change weights before the first update of an epoch from 0 on, where a phase begins."""
        self.phases.enter_(
            self.models,
            epoch,
            forget=partial(forget_, self.optimizer, self.fresh_optimizer),
            seed=self.training.seed,
            processes=self.processes,
        )

    def begin_epoch(self, epoch: int, *, step: int = 0) -> None:
        """Set order of the images, mixing, head, freezing and modes for an epoch.

        Args:
            epoch: Epoch that begins or goes on, counted from 0.
            step: Updates of it that are done; their images are not read again.
        """
        if self.heads is not None and self.heads.phases:
            judged = () if self.solved is None else (self.solved.model,)
            self.heads.switch_((*self.models, *judged), epoch)
        start = step * self.training.grad_accum_steps
        self.training_batches.set_epoch(epoch, start=start)
        self.objective.set_epoch(epoch)
        # First what is trained, then the modes: a module that is frozen as a whole gets eval mode.
        set_trainable_(self.model, self.freezing.at(epoch))
        set_train_mode_(self.model)
        if self.training.bn_stats == "keep":
            keep_batch_statistics_(self.model, self.head)
        # Last: `DistributedDataParallel` wants to know what requires a gradient.
        self.forward.renew_()


def assemble(
    model: nn.Module,
    recipe: Recipe,
    head: ClassifierHead,
    data: TrainingData,
    request: FinetuneRequest,
    processes: Processes,
) -> Parts:
    """Put a run together; moves the model to its device.

    Args:
        model: Model to be trained in place.
        recipe: Recipe of the model, with the data's classes.
        head: Head of the model.
        data: Images for training and for validation.
        request: Settings of the run.
        processes: Processes that train together.

    Raises:
        ArgumentError: A setting asks for something that torch, timm or the model does not have.
    """
    training = request.training
    device = resolve_device(training.device, processes)
    require_graphs(device, training)
    recipe = constrain_(model, recipe, training)
    heads = plan_head_schedule(training.head_schedule, model, recipe, epochs=training.epochs)
    freezing, phases = planned_freezing(model, head, request)
    model = _on_device(model, recipe, request, device, processes)
    set_trainable_(model, freezing.trained)  # also what thaws later has a place in the optimizer
    groups = plan_parameter_groups(model, head, training)
    optimizer = _optimizer(model, groups, request)
    training_batches, validation_batches = _loaders(data, recipe, request, device, processes)
    updates = _updates(training_batches, training)
    eager = _eager(model, head, request)
    ema = _moving_average(model, training)
    way = {"compiled": training.torchcompile, "mode": training.torchcompile_mode}
    judged = model if ema is None else ema.module
    return Parts(
        model=model,
        eager=eager,
        forward=make_replica(eager, processes, recipe.input, **way),
        processes=processes,
        head=head,
        freezing=freezing,
        groups=groups,
        optimizer=optimizer,
        # Before a schedule or a hook has touched it: phases go back to this.
        fresh_optimizer=deepcopy(optimizer.state_dict()),
        centralization=_centralization(optimizer, model, training),
        schedule=Schedule(optimizer, training, phases.phases, updates_per_epoch=updates),
        scaler=loss_scaler(device, training),
        ema=ema,
        objective=Objective(request.objective, training, recipe.num_classes, processes),
        constraints=FilterConstraints(model),
        training_batches=training_batches,
        validation_batches=validation_batches,
        device=device,
        request=request,
        recipe=recipe,
        data=data,
        fingerprints=_fingerprints(data),
        heads=heads,
        phases=phases,
        solved=plan_solved_head(
            judged, head, data.training, recipe.input, training, device, processes
        ),
    )


def _eager(model: nn.Module, head: ClassifierHead, request: FinetuneRequest) -> nn.Module:
    embeds = request.objective.needs("embeddings")
    return WithEmbeddings(model, head.classifier) if embeds else model


def planned_freezing(
    model: nn.Module, head: ClassifierHead, request: FinetuneRequest
) -> tuple[FreezeSchedule, TrainingPhases]:
    """Plan what is trained when, and the phases that have a part in that."""
    freezing = plan_freezing(model, head, request.training.freeze_rules)
    if not request.objective.needs("logits"):
        freezing = without_classifier(freezing, head, request.objective.loss)
    if request.svdnet is None:
        phases = single_phase(request.training)
    else:
        phases = plan_restraint_relaxation(model, request.svdnet, base_lr=request.training.peak_lr)
    freezing = replace(freezing, holds=phases.holds)
    phases.require_something_to_train(freezing.at)
    return freezing, phases


def _on_device(
    model: nn.Module,
    recipe: Recipe,
    request: FinetuneRequest,
    device: torch.device,
    processes: Processes,
) -> nn.Module:
    """Move the model to its device, prepared for checkpointing and for other processes."""
    training = request.training
    if training.grad_checkpointing:
        require_recomputable(model, training)
        checkpoint_gradients_(model, recipe.base.name)
    if request.processes.sync_bn and processes.world > 1:
        model = synchronize_batch_norms_(model, device)
    # Before the optimizer is built: torch does not promise that parameters stay the same objects.
    layout = torch.channels_last if training.channels_last else torch.preserve_format
    return model.to(device, memory_format=layout)


def _loaders(
    data: TrainingData,
    recipe: Recipe,
    request: FinetuneRequest,
    device: torch.device,
    processes: Processes,
) -> tuple[ImageLoader, ImageLoader]:
    """Return the batches to train on, varied at random, and those to evaluate on, in order."""
    # Each process has a share of every batch.
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
    training_batches = training_loader(
        data.training,
        recipe.input,
        request.augmentation,
        objective=request.objective,
        seed=request.training.seed,
        shard=Shard(processes.rank, processes.world),
        exact_decode=request.loading.exact_decode,
        **shared,
    )
    validation_batches = evaluation_loader(
        data.validation, recipe.input, select_batches=processes.part_of, **shared
    )
    return training_batches, validation_batches


def _fingerprints(data: TrainingData) -> dict[str, str]:
    return {
        "training": fingerprint(data.training, data.root),
        "validation": fingerprint(data.validation, data.root),
    }


def _optimizer(
    model: nn.Module, groups: Sequence[ParameterGroup], request: FinetuneRequest
) -> Optimizer:
    training = request.training
    optimizer = build_optimizer(optimizer_groups(model, groups, training.peak_lr), training)
    if request.svdnet is None:
        # Saved states of plain runs have this entry, as timm's schedulers leave it; states of
        # runs in SVDNet's phases never had.
        for group in optimizer.param_groups:
            group["initial_lr"] = training.peak_lr
    return optimizer


def _centralization(
    optimizer: Optimizer, model: nn.Module, training: TrainingSpec
) -> Centralization | None:
    if not training.gc:
        return None
    weights = layer_weights(model, conv_only=training.gc_conv_only)
    return centralize_gradients(optimizer, on=training.gc_on, only=weights, in_place=True)


def _moving_average(model: nn.Module, training: TrainingSpec) -> ModelEmaV3 | None:
    if not training.model_ema:
        return None
    # The warm-up lets the first updates count for more: a short run would keep its first weights.
    return ModelEmaV3(model, decay=training.model_ema_decay, use_warmup=True)


def _updates(batches: ImageLoader, training: TrainingSpec) -> int:
    # Rounded up: what is left over at the end of an epoch is an update of its own.
    return -(-len(batches) // training.grad_accum_steps)

"""A fine-tuning run as one record: what `args.yaml` holds, and what resuming it reads."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SerializeAsAny, ValidationError

from covtool.errors import ArgumentError
from covtool.specs.augmentation import AugmentationSpec
from covtool.specs.class_split import ClassSplitSpec
from covtool.specs.faults import FaultSpec
from covtool.specs.input_overrides import InputOverrides
from covtool.specs.layout import LayoutSpec
from covtool.specs.loading import LoadingSpec
from covtool.specs.model_source import ModelSource
from covtool.specs.objective import ObjectiveSpec
from covtool.specs.optimization import AUTO
from covtool.specs.problems import key_and_reason
from covtool.specs.processes import ProcessSpec
from covtool.specs.record import Contradiction, Record, refuse_contradictions
from covtool.specs.repeats import RepeatSpec
from covtool.specs.retrieval import SearchSpec
from covtool.specs.setting_bounds import require_bounded
from covtool.specs.svdnet import SvdnetSpec, SvdnetTrainingSpec
from covtool.specs.training import TrainingSpec

COMMAND, PHASED_COMMAND = "finetune", "svdnet-rri"

SETTINGS: dict[str, type[Record]] = {
    "training": TrainingSpec,
    "objective": ObjectiveSpec,
    "augmentation": AugmentationSpec,
    "loading": LoadingSpec,
    "faults": FaultSpec,
    "processes": ProcessSpec,
    "images": InputOverrides,
    "classes": ClassSplitSpec,
    "layout": LayoutSpec,
    "repeats": RepeatSpec,
    "search": SearchSpec,
}
"""The groups of settings of a run; no two have a name in common."""

PHASED: dict[str, type[Record]] = {
    **SETTINGS,
    "training": SvdnetTrainingSpec,
    "svdnet": SvdnetSpec,
}
"""Those of a run in the phases of SVDNet."""


def command_of(arguments: Mapping[str, Any]) -> str:
    """Return the command that a run was started with, from the names of its arguments."""
    return COMMAND if SvdnetSpec.model_fields.keys().isdisjoint(arguments) else PHASED_COMMAND


class FinetuneRequest(Record):
    """What to fine-tune, on what, and how.

    Attributes:
        model: A file or a name, see `covtool.open_model`; None for that of the run `init_from`.
        data: A folder or a CSV file; see `covtool.data.datasets.retrieval.reading.read_classes`.
        init_from: A run, a checkpoint of one, or a file, whose weights to start from; the weights
            only, not the optimizer, the schedule or the epoch.
        training: Optimizer, schedule, regularization, device.
        objective: The loss, and which images meet in a batch.
        augmentation: Variation of the training images.
        loading: The input path.
        faults: Intervals of saving, and faults that the run survives.
        processes: Processes that work together.
        images: Changes to the images that the model expects.
        classes: Classes that are trained.
        layout: Choices that the data set leaves.
        repeats: Seeds and folds to repeat the run with.
        search: Search that judges a run in phases, or on a fold of identities.
        svdnet: The phases of SVDNet; None for a run without.
        arch: Architecture, where the tensors leave a choice.
        iterations: Newton-Schulz steps of a published covariance network; None for 5.
        weights: ``auto``, ``ema`` or ``raw``, or the name of a set of weights.
        classifier_layer: Classifier of a checkpoint with several linear layers that may be it.
        from_scratch: Do not fetch the pretrained weights of a name.
        new_classifier: Start the classifier afresh for the data's classes.
        output: Folder for runs; the run goes to ``<output>/<command>/<experiment>[-N]``.
        experiment: Name of the run; None for the model's.
        preset: Name of the preset that gives the settings that are not given otherwise.
    """

    model: str | None
    data: str
    init_from: str | None = None
    # As any: pydantic would leave out the fields of a subclass, those of SVDNet.
    training: SerializeAsAny[TrainingSpec] = TrainingSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    augmentation: AugmentationSpec = AugmentationSpec()
    loading: LoadingSpec = LoadingSpec()
    faults: FaultSpec = FaultSpec()
    processes: ProcessSpec = ProcessSpec()
    images: InputOverrides = InputOverrides()
    classes: ClassSplitSpec = ClassSplitSpec()
    layout: LayoutSpec = LayoutSpec()
    repeats: RepeatSpec = RepeatSpec()
    search: SearchSpec = SearchSpec()
    svdnet: SvdnetSpec | None = None
    arch: str | None = None
    iterations: int | None = None
    weights: str = "auto"
    classifier_layer: str | None = None
    from_scratch: bool = False
    new_classifier: bool = False
    output: str = "runs"
    experiment: str | None = None
    preset: str | None = None

    def validate_fields(self) -> None:
        """Check the settings against each other, before anything is read.

        Raises:
            ArgumentError: Two of them contradict each other, one has no effect or is beyond all
                bounds, or there is no model.
        """
        # First: sums and products of settings without bounds overflow below.
        require_bounded(self.to_arguments())
        if self.model is None and self.init_from is None:
            raise ArgumentError("Neither a model is given, nor where its weights are from.")
        if self.svdnet is None:
            self.training.validate_fields()
        else:
            assert isinstance(self.training, SvdnetTrainingSpec)  # as `PHASED` has it
            self.training.validate_phases(self.svdnet)
        self.repeats.validate_fields()
        refuse_contradictions(self._contradictions_of_folds())
        self.loading.validate_fields()
        self.objective.validate_fields(self.training, self.faults)
        refuse_contradictions(self._contradictions_of_head())
        if self.training.lr == AUTO:
            self.require_rates_to_test(f"--lr {AUTO}")

    def to_find_rate(self, flag: str) -> "FinetuneRequest":
        """Return the same request with a learning rate that is to be found, whatever it has.

        Args:
            flag: Option that asks for it.

        Raises:
            ArgumentError: See `require_rates_to_test`; or the run is to be repeated.
        """
        self.require_rates_to_test(flag)
        refuse_contradictions(
            [
                (
                    self.repeats.is_several,
                    f"{flag} finds the rate of one run, and --seeds or --folds make several.",
                    f"Leave it out: --lr {AUTO} finds the rate of all seeds, and of each fold; or "
                    f"name a --fold, and leave out --seeds, for {flag}.",
                )
            ]
        )
        return self.model_copy(update={"training": self.training.with_rate_to_find()})

    def require_rates_to_test(self, flag: str) -> None:
        """Refuse a range test that would say nothing.

        Args:
            flag: Option that asks for it.

        Raises:
            ArgumentError: The run is one of phases, or its loss does not train a classifier.
        """
        judged = "A range test judges learning rates by the cross entropy on held-out images"
        hint = "Give the rate with --lr"
        refuse_contradictions(
            (
                (
                    self.svdnet is not None,
                    f"{flag} is not for the phases of {PHASED_COMMAND}. {judged}; a search has "
                    "other identities than the classifier, and each phase has a rate of its own.",
                    f"{hint} for step 0, and those of the iterations with --lrs.",
                ),
                (
                    not self.objective.needs("logits"),
                    f"{flag} has nothing to judge by: {judged}, and --loss {self.objective.loss} "
                    "does not train the classifier.",
                    f"{hint}, or add ce to the loss.",
                ),
            )
        )

    def _contradictions_of_folds(self) -> Iterator[Contradiction]:
        folds, fraction = self.repeats.folds, self.training.val_fraction
        yield (
            folds is not None and fraction is not None,
            f"--val-fraction {fraction} has no effect with --folds: a fold is what is validated "
            "on.",
            "Leave one of them out.",
        )
        yield (
            folds is None and self.svdnet is None and bool(self.search.chosen()),
            f"Nothing is searched for: {', '.join(self.search.chosen())} would have no effect.",
            "A run is judged by a search with --folds on data for retrieval.",
        )

    def _contradictions_of_head(self) -> Iterator[Contradiction]:
        solved = self.training.resolve_head == "on"
        yield (
            solved and self.svdnet is not None,
            f"--resolve-head on has no place in {PHASED_COMMAND}: an Eigenlayer's classifier is "
            "trained with it.",
            "Leave it out.",
        )
        yield (
            solved and not self.objective.needs("logits"),
            f"--resolve-head on solves a classifier that --loss {self.objective.loss} does not "
            "train, so nothing would steer the features by it.",
            "Add ce to the loss, or calibrate the model after the run: covtool convert --head ... "
            "--calibrate.",
        )

    @property
    def command(self) -> str:
        """The command that starts such a run, and goes on with it."""
        return COMMAND if self.svdnet is None else PHASED_COMMAND

    @property
    def groups(self) -> dict[str, type[Record]]:
        """The groups of settings that it has."""
        return SETTINGS if self.svdnet is None else PHASED

    @property
    def source(self) -> ModelSource | None:
        """The model to open; None for that of the run `init_from`."""
        if self.model is None:
            return None
        return ModelSource(
            name=self.model,
            arch=self.arch,
            weights=self.weights,
            classifier_layer=self.classifier_layer,
            iterations=self.iterations,
            # Weights of `init_from` replace the pretrained ones, which need not be fetched then.
            from_scratch=self.from_scratch or self.init_from is not None,
            input=self.images.changes(),
        )

    def to_arguments(self) -> dict[str, Any]:
        """Return all settings under the names of the command's options, ready for YAML."""
        values = self.model_dump(mode="json")
        own = {name: values.pop(name) for name in PHASED}
        for name in self.groups:
            values |= own[name]
        if values["lr_rule"] is None:  # it is no option: nothing to say of a rate that was given
            del values["lr_rule"]
        return values

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any]) -> "FinetuneRequest":
        """Return the inverse of `to_arguments`.

        Raises:
            ArgumentError: A name is unknown, or a value is not valid.
        """
        values = dict(arguments)
        # A run of SVDNet is known by its settings: args.yaml does not name the command.
        groups = (PHASED if command_of(arguments) == PHASED_COMMAND else SETTINGS).items()
        named = {
            name: {key: values.pop(key) for key in spec.model_fields if key in values}
            for name, spec in groups
        }
        try:
            made = {name: spec.model_validate(named[name]) for name, spec in groups}
            return cls.model_validate({**values, **made})
        except ValidationError as problem:
            key, reason = key_and_reason(problem)
            raise ArgumentError(f"{key!r} is not valid: {reason}.") from problem

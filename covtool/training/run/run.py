"""A run that is under way: its parts, its state, its folder and its observer."""

from dataclasses import dataclass

from covtool.training.parts.assembly import Parts
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import Observer
from covtool.training.run.state import RunState
from covtool.training.run.stopping import is_finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that is under way.

    Attributes:
        parts: Model, optimizer, data and settings.
        state: Progress, which changes.
        directory: Folder that it is written to.
        data: Names of the data set and of its validation split.
        observer: Receiver of its events.
    """

    parts: Parts
    state: RunState
    directory: RunDirectory
    data: tuple[str, str]
    observer: Observer

    @property
    def resuming(self) -> str:
        """The command that goes on with it."""
        return f"covtool {self.parts.request.command} --resume {self.directory.path}"

    @property
    def is_over(self) -> bool:
        """Whether no epoch is left."""
        return is_finished(self.state, self.parts.training, self.parts.phases)

    @property
    def is_save_due(self) -> bool:
        """Whether the state is to be written after this update."""
        # Counted within the run, not the epoch: a resumed run saves after the same updates.
        every = self.parts.request.faults.save_every_steps
        return every > 0 and self.state.updates % every == 0

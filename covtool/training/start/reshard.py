"""A run goes on with another number of processes."""

from covtool.training.parts.assembly import Parts
from covtool.training.run.state import RunState
from covtool.training.start.prepare import seed_everything


def reshard_(parts: Parts, state: RunState) -> str:
    """Bring a state that another number of processes has saved to where these can go on.

    Batches have as many images per process as before, and so another size in all. The epoch goes on
    at the last of the new updates that begins with images not seen yet, or just before.

    Args:
        parts: Restored.
        state: Its position and its schedule change.

    Returns:
        What is different from now on.
    """
    before, now = state.world, parts.processes.world
    state.step = min(state.step * before // now, parts.updates_per_epoch)
    state.lead = state.epoch * parts.updates_per_epoch + state.step - state.updates
    state.world = now
    parts.schedule.offset = state.lead
    parts.schedule.set_updates(state.updates)
    seed_everything(parts.training.seed + state.updates + parts.processes.rank)
    images = parts.training.batch_size * parts.training.grad_accum_steps
    return (
        f"The run was saved by {_processes(before)} and goes on with {now}: an update has "
        f"{images * now} images in place of {images * before}, their order within the epoch "
        "changes, and so do random numbers."
    )


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"

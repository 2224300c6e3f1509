"""Freezing: the parameters that are trained in an epoch, and the modes of their modules."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.backbones.selecting import fits, near
from covtool.errors import ArgumentError
from covtool.specs.freezing import BACKBONE, FreezeRule
from covtool.training.parts.head import ClassifierHead


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeSchedule:
    """What is trained, as a function of the epoch, so that a resumed run trains the right things.

    Attributes:
        names: Names of the parameters that can be trained.
        rules: Rules of freezing, each with the names that it is about.
        holds: Epochs in which a phase of the run freezes more, with the names.
    """

    names: frozenset[str]
    rules: tuple[tuple[FreezeRule, frozenset[str]], ...]
    holds: tuple[tuple[range, frozenset[str]], ...] = ()

    def at(self, epoch: int) -> frozenset[str]:
        """Return names of the parameters that are trained in an epoch, counted from 0."""
        held = (names for epochs, names in self.holds if epoch in epochs)
        return self._left_by_rules(epoch).difference(*held)

    @property
    def trained(self) -> frozenset[str]:
        """Names of the parameters that are trained at some time."""
        return self.names.difference(*(held for rule, held in self.rules if rule.epochs is None))

    def note(self, epoch: int) -> str | None:
        """Return which rules end with an epoch, counted from 0, in a sentence; None without one."""
        thawed = [rule.pattern for rule, _ in self.rules if rule.epochs == epoch]
        if not thawed:
            return None
        # What a phase freezes does not count: its own note says so.
        tensors = len(self._left_by_rules(epoch)) - len(self._left_by_rules(epoch - 1))
        verb = "thaw" if len(thawed) > 1 else "thaws"
        return f"Epoch {epoch + 1}: {', '.join(thawed)} {verb}, {tensors} more tensors are trained."

    def _left_by_rules(self, epoch: int) -> frozenset[str]:
        return self.names.difference(*(held for rule, held in self.rules if rule.applies(epoch)))


def plan_freezing(
    model: nn.Module, head: ClassifierHead, rules: Sequence[FreezeRule]
) -> FreezeSchedule:
    """Find the parameters that rules of freezing are about.

    Args:
        model: Model whose parameters that do not require a gradient stay like that.
        head: Head of the model, which ``backbone`` leaves out.
        rules: Rules of freezing.

    Raises:
        ArgumentError: A pattern fits no parameter or never thaws, or nothing is left to train.
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    held = tuple((rule, _held(rule, names, head)) for rule in rules)
    schedule = FreezeSchedule(names=frozenset(names), rules=held)
    for rule, own in held:
        # A slip that nothing else would show: the run would train less than was asked for.
        if rule.epochs is not None and not own & schedule.at(rule.epochs):
            others = ", ".join(str(r) for r, _ in held if r is not rule and r.applies(rule.epochs))
            raise ArgumentError(
                f"--freeze {rule} thaws nothing after {rule.epochs} epochs.",
                reason=f"Its parameters are frozen for longer by {others}.",
                hint="Leave it out, or let the others end first.",
            )
    if not schedule.at(0):
        first = "" if not schedule.trained else " in the first epoch"
        raise ArgumentError(
            f"--freeze leaves nothing to train{first}.", hint="--freeze backbone leaves the head."
        )
    return schedule


def without_classifier(schedule: FreezeSchedule, head: ClassifierHead, loss: str) -> FreezeSchedule:
    """Return the schedule of a run whose loss does not depend on the logits.

    Raises:
        ArgumentError: Nothing is left to train.
    """
    others = frozenset(n for n in schedule.names if not n.startswith(f"{head.classifier}."))
    schedule = replace(schedule, names=others)
    if not schedule.at(0):
        raise ArgumentError(
            f"--freeze leaves nothing that --loss {loss} can train.",
            reason="Such a loss does not train the classifier.",
            hint="Freeze less, or add ce to the loss.",
        )
    return schedule


def set_trainable_(model: nn.Module, names: frozenset[str]) -> None:
    """Let exactly these parameters require a gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def set_train_mode_(model: nn.Module) -> None:
    """Set train mode, but eval mode for modules that are frozen as a whole.

    A frozen batch normalization keeps its statistics, frozen dropout does nothing.
    """
    parameters = list(model.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        model.eval()
        return
    # Not `train()`, which would go on to the children: each is to decide for itself.
    model.training = True
    for child in model.children():
        set_train_mode_(child)


def keep_batch_statistics_(model: nn.Module, head: ClassifierHead) -> None:
    """Let the batch norms of the backbone use their statistics, and leave them as they are.

    Their scales and biases are trained. Those of the head are new and keep their mode.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not head.holds(name):
            module.eval()


def _held(rule: FreezeRule, names: Sequence[str], head: ClassifierHead) -> frozenset[str]:
    if rule.pattern == BACKBONE:
        held = frozenset(name for name in names if not head.holds(name))
    else:
        held = frozenset(name for name in names if fits(name, rule.pattern))
    if not held:
        raise _fits_nothing(rule.pattern, names)
    return held


def _fits_nothing(pattern: str, names: Sequence[str]) -> ArgumentError:
    close = near(pattern, sorted({name.rpartition(".")[0] for name in names}))
    return ArgumentError(
        f"--freeze {pattern!r} fits no parameter.",
        hint=f"Give 'backbone', or names like {close}; * stands for anything.",
    )

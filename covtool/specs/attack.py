"""The attack that a model is measured under, and its limits."""

from pydantic import ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from covtool.errors import ArgumentError
from covtool.specs.record import Record, as_flag

PANEL: JsonDict = {"panel": "Attack"}
DEFAULT_STEPS = 10
DEFAULT_SEED = 0
STEP_SHARE = 2.5  # of eps over the number of steps: Madry et al. reach the border from any start


class AttackSpec(Record):
    """A white-box attack, a row of `covtool.evaluation.classification.attacks.ATTACKS`.

    A field is None where it is not given.

    Lengths are L-infinity, in units of pixel values in [0, 1]: a text like ``4/255`` or ``0.0157``.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    attack: str | None = Field(
        None,
        description="Measure under a white-box attack as well: fgsm or pgd.",
        json_schema_extra=PANEL,
    )
    eps: str | None = Field(
        None,
        description="Largest change of a pixel value, of values in [0, 1]: 4/255 or 0.0157.",
        json_schema_extra=PANEL,
    )
    steps: int | None = Field(
        None, ge=1, description=f"Steps (pgd); default: {DEFAULT_STEPS}.", json_schema_extra=PANEL
    )
    step_size: str | None = Field(
        None,
        description=f"Change per step, as --eps (pgd); default: {STEP_SHARE:g} * eps / steps.",
        json_schema_extra=PANEL,
    )
    attack_seed: int | None = Field(
        None,
        ge=0,
        description=f"Seed of the random start (pgd); default: {DEFAULT_SEED}.",
        json_schema_extra=PANEL,
    )

    @field_validator("eps", "step_size")
    @classmethod
    def _is_in_range(cls, text: str | None) -> str | None:
        if text is not None and not 0 < _fraction(text) <= 1:
            raise ValueError("it should be above 0 and at most 1; pixel values are in [0, 1]")
        return text

    @property
    def radius(self) -> float:
        """`eps` as a number."""
        assert self.eps is not None  # `validate_fields` has asked for it
        return _fraction(self.eps)

    @property
    def step(self) -> float:
        """`step_size` as a number."""
        assert self.step_size is not None  # the attack has one by now
        return _fraction(self.step_size)

    @property
    def title(self) -> str:
        """For a table: ``pgd (eps 4/255, 10 steps)``."""
        steps = f", {self.steps} step{'s' * (self.steps != 1)}" if self.steps else ""
        return f"{self.attack} (eps {self.eps}{steps})"

    def given(self) -> tuple[str, ...]:
        """Return names of the options that were given, beside `attack` itself."""
        return tuple(self.model_dump(exclude={"attack"}, exclude_none=True))

    def validate_fields(self) -> None:
        """Check the options against each other, as far as they are the same for every attack.

        Raises:
            ArgumentError: There is an attack without eps, or an option without an attack.
        """
        if self.attack is None:
            if self.given():
                raise ArgumentError(
                    f"{as_flag(self.given()[0])} has no effect without --attack.",
                    hint="Add --attack pgd, for example, or leave it out.",
                )
        elif self.eps is None:
            raise ArgumentError(
                f"--attack {self.attack} does not say how far a pixel value may change.",
                hint="Add --eps 4/255, for example.",
            )


def _fraction(text: str) -> float:
    """Return the number that ``4/255`` or ``0.0157`` stands for."""
    # Read by hand: `Fraction` has no bound on digits, and nothing is evaluated.
    over, _, under = text.partition("/")
    try:
        return float(over) / (float(under) if "/" in text else 1.0)
    except (ValueError, ZeroDivisionError):
        raise ValueError("it should be a number, such as 4/255 or 0.0157") from None

"""Padé approximants: fractions of polynomials that agree with a power series to the last term."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from covtool.errors import ArgumentError


def pade_coefficients(
    series: Sequence[Fraction], numerator_degree: int, denominator_degree: int
) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]]:
    """Return the [M/N] Padé approximant of a power series, in exact arithmetic.

    Args:
        series: Its coefficients, constant term first, M + N + 1 of them at least.
        numerator_degree: M.
        denominator_degree: N.

    Returns:
        Coefficients of numerator and denominator, constant terms first; the denominator's is 1.

    Raises:
        ArgumentError: The series is too short, or the approximant is not unique.

    Source:
        Baker, Graves-Morris. "Padé Approximants", 1996, equations 1.1.10 and 1.1.11.
    """
    M, N = numerator_degree, denominator_degree
    if len(series) < M + N + 1:
        raise ArgumentError(f"A [{M}/{N}] Padé approximant needs {M + N + 1} coefficients.")

    def term(k: int) -> Fraction:
        return Fraction(series[k]) if k >= 0 else Fraction(0)

    rows = [[term(M + i - j) for j in range(1, N + 1)] + [-term(M + i)] for i in range(1, N + 1)]
    denominator = (Fraction(1), *_solved(rows))
    numerator = tuple(
        sum((denominator[j] * term(k - j) for j in range(min(k, N) + 1)), Fraction(0))
        for k in range(M + 1)
    )
    return numerator, denominator


@cache
def root_series(terms: int) -> tuple[Fraction, ...]:
    """Return the first coefficients of sqrt(1 - z) = 1 - z/2 - z**2/8 - ..."""
    coefficients = [Fraction(1)]
    for k in range(1, terms):
        coefficients.append(coefficients[-1] * Fraction(2 * k - 3, 2 * k))
    return tuple(coefficients)


@cache
def root_pade(degree: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the [degree/degree] Padé approximant of sqrt(1 - z), rounded to double precision."""
    numerator, denominator = pade_coefficients(root_series(2 * degree + 1), degree, degree)
    return tuple(map(float, numerator)), tuple(map(float, denominator))


def _solved(rows: list[list[Fraction]]) -> list[Fraction]:
    """Gauss-Jordan elimination of an augmented system."""
    size = len(rows)
    for column in range(size):
        pivot = next((r for r in range(column, size) if rows[r][column]), None)
        if pivot is None:
            raise ArgumentError("The Padé approximant of this series is not unique.")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for r in range(size):
            if r != column and rows[r][column]:
                factor = rows[r][column]
                pairs = zip(rows[r], rows[column], strict=True)
                rows[r] = [value - factor * other for value, other in pairs]
    return [row[-1] for row in rows]

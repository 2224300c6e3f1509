"""Ridge regression in closed form, with the penalty chosen by leave-one-out.

Leave-one-out needs no second fit: with the hat matrix H of the fit, the error that an image would
have if it were left out is its own error divided by 1 - H_ii. The intercept is not penalized: it
is handled by centering.
"""

from covtool.ops.ridge.choice import PENALTIES, Loss, mistakes, squared_error
from covtool.ops.ridge.dual import LARGEST_EIGEN, center_gram, fit_ridge_gram
from covtool.ops.ridge.fit import fit_ridge
from covtool.ops.ridge.primal import Batches, fit_ridge_by_batches
from covtool.ops.ridge.result import GramFit, RidgeFit, Side

__all__ = [
    "LARGEST_EIGEN",
    "PENALTIES",
    "Batches",
    "GramFit",
    "Loss",
    "RidgeFit",
    "Side",
    "center_gram",
    "fit_ridge",
    "fit_ridge_by_batches",
    "fit_ridge_gram",
    "mistakes",
    "squared_error",
]

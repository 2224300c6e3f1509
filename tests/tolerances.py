"""Tolerances in one place, per dtype and purpose."""

EXACT = {"rtol": 0.0, "atol": 0.0}
FLOAT64 = {"rtol": 1e-10, "atol": 1e-12}
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
FLOAT32_CHAIN = {"rtol": 1e-4, "atol": 1e-5}
HALF = {"rtol": 2e-2, "atol": 2e-2}

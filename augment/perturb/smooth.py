"""Smooth random curves and fields: uniform cubic B-splines through a few random numbers."""

import numpy as np
from jaxtyping import Float


def spline_weights(size: int, spacing: float) -> Float[np.ndarray, "size knots"]:
    """(size, knots): each row holds what the knots, `spacing` pixels apart, weigh at a pixel; rows sum to 1."""
    position = np.arange(size) / spacing
    first = position.astype(int)
    t = position - first
    weights = np.zeros((size, int(first[-1]) + 4))
    cubic = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, weight in enumerate(cubic):
        weights[np.arange(size), first + offset] = weight / 6
    return weights

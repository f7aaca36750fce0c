"""From radiance to a photograph: lens, exposure, tone curve and sensor."""

import numpy as np
from jaxtyping import Float, UInt8


def _soften(image: Float[np.ndarray, "h w 3"], side: float) -> Float[np.ndarray, "h w 3"]:
    """Blur along rows and columns with the kernel (side, 1 - 2·side, side)."""
    for axis in (0, 1):
        edge = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis)
        before, after = (edge.take(range(k, k + image.shape[axis]), axis) for k in (0, 2))
        image = (1 - 2 * side) * image + side * (before + after)
    return image


def develop(radiance: Float[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Take the picture; how well focused, exposed, balanced and noisy it is, `rng` decides."""
    height, width, _ = radiance.shape
    image = _soften(radiance, rng.uniform(0.02, 0.14))
    y = (np.arange(height)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width) + 0.5) / width - 0.5
    image = image * (1 - rng.uniform(0.1, 0.9) * (x**2 + y**2))[..., None]

    middle = np.exp(np.log(image + 0.01).mean())
    exposure = 0.27 / middle * 2 ** rng.normal(0, 0.3)
    balance = rng.normal(1, 0.04, 3)
    image = 1 - np.exp(-exposure * balance * image)  # highlights roll off as on film
    image = image ** (1 / rng.uniform(1.9, 2.3))
    contrast = rng.uniform(0.1, 0.6)
    image = image + contrast * (image * image * (3 - 2 * image) - image)  # from straight towards an S
    grey = image.mean(-1, keepdims=True)
    image = grey + rng.uniform(0.85, 1.35) * (image - grey)

    strength = np.exp(rng.uniform(np.log(0.008), np.log(0.03)))
    luminance, colour = rng.normal(size=(height, width, 1)), rng.normal(size=(height, width, 3))
    image = image + strength * (1.2 - 0.6 * grey) * (0.8 * luminance + 0.5 * colour)  # dark tones are noisier
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)

"""Distances between two sets of feature vectors, by torch-fidelity; here are only its calls and their limits."""

import warnings

from jaxtyping import Float
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric


class FewImagesWarning(UserWarning):
    """There are images enough to compute a number, and too few to compare it freely."""


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """FID's distance: that of two Gaussians with the sets' means and covariances (Heusel et al. 2017).

    Raises:
        ValueError: fewer than 2 images in a set. No more images than dimensions is a warning.
    """
    _at_least(2, "Fréchet distance", a, b)
    if min(len(a), len(b)) <= a.shape[1]:
        warnings.warn(
            f"Fréchet distance of {len(a)} and {len(b)} images in {a.shape[1]} dimensions: with so few it shrinks as "
            "their number grows; compare it with distances of as many images only",
            FewImagesWarning,
            stacklevel=2,
        )
    first, second = (fid_features_to_statistics(features.double().cpu()) for features in (a, b))
    return fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID]


def kernel_distance(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], *, subset_size: int, subsets: int, seed: int
) -> tuple[float, float]:
    """KID: the squared maximum mean discrepancy under a cubic kernel (Bińkowski et al. 2018), without bias.

    Args:
        subset_size: images of each set in a draw; at most the smaller set, which is a warning.
        subsets: number of draws.
        seed: of the draws.

    Returns:
        Mean and standard deviation over the draws.
    """
    _at_least(2, "kernel distance", a, b)
    if subset_size > min(len(a), len(b)):
        warnings.warn(
            f"Kernel distance: subsets of {subset_size} images are cut to {min(len(a), len(b))}, as the sets have "
            f"{len(a)} and {len(b)}",
            FewImagesWarning,
            stacklevel=2,
        )
        subset_size = min(len(a), len(b))
    found = kid_features_to_metric(
        a.double(), b.double(), kid_subset_size=subset_size, kid_subsets=subsets, rng_seed=seed, verbose=False
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


def precision_recall(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, neighbours: int) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019), each 0..1.

    Precision is the share of fakes within the reach of a real image, recall that of real images within the reach of a
    fake one; an image reaches as far as the nearest but `neighbours` - 1 of its own set.
    """
    _at_least(neighbours + 1, f"precision and recall with {neighbours} neighbours", real, fake)
    found = prc_features_to_metric(fake, real, prc_neighborhood=neighbours, save_cpu_ram=True, verbose=False)
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]


def _at_least(count: int, what: str, a: Tensor, b: Tensor) -> None:
    if min(len(a), len(b)) < count:
        raise ValueError(f"{what} needs at least {count} images on each side, not {len(a)} and {len(b)}")

"""A generator in numbers: its images of a data set's label maps against real ones, and against each other."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpsims.backbone import Backbone
from dpsims.data import FolderDataset
from dpsims.metrics.cache import cached_features
from dpsims.metrics.distances import frechet_distance, kernel_distance, precision_recall
from dpsims.metrics.diversity import BackboneDistance, pair_distances
from dpsims.metrics.embed import Embedder
from dpsims.metrics.generate import Compute, Photos, make_fakes, read_photos, to_pixels
from dpsims.sample import Snapshot
from dpsims.spread import spread_indices

KID_SUBSET_SIZE, KID_SUBSETS = 1000, 100  # what torch-fidelity and the literature take


def evaluate(
    snapshot: Snapshot,
    dataset: FolderDataset,
    embedders: Sequence[Embedder],
    distances: Sequence[nn.Module],
    compute: Compute,
    *,
    reference: Photos,
    samples: int,
    diversity_samples: int,
    neighbours: int,
    seed: int,
    max_maps: int | None = None,
) -> dict[str, float]:
    """Every number of a generator. The same call gives the same numbers.

    Args:
        dataset: label maps to make images of, at the generator's size and without augmentation.
        embedders: feature spaces to compare images in.
        distances: modules such as `Lpips`, for pairs of images of one label map.
        reference: real images to compare with, in the same frame.
        samples: images per label map that are compared with the real ones.
        diversity_samples: images per label map that are compared with each other.
        neighbours: of precision and recall.
        max_maps: use only so many label maps, at equal distances.

    Returns:
        "FID/NAME", "KID/NAME", "KID std/NAME", "Precision/NAME", "Recall/NAME" by embedder, and each distance's mean
        over pairs and label maps by its name, such as "LPIPS/alex".

    Raises:
        ValueError: too few images, or a data set that is not what the generator was trained for.
        FloatingPointError: the generator's output is not finite.
    """
    check_fit(snapshot, dataset)
    assert reference.size == dataset.size
    indices = spread_indices(len(dataset), max_maps)
    check_counts(len(indices), samples, diversity_samples if distances else None, len(reference), neighbours)
    reals = {embedder.name: photo_features(reference, embedder, compute) for embedder in embedders}
    fakes, numbers = measure_fakes(
        snapshot.generator,
        dataset,
        indices,
        embedders,
        distances,
        compute,
        samples=samples,
        diversity_samples=diversity_samples,
        z_dim=snapshot.z_dim,
        seed=seed,
    )
    found = {}
    for name, fake in fakes.items():
        real = reals[name]
        found[f"FID/{name}"] = frechet_distance(real, fake)
        kid = kernel_distance(real, fake, subset_size=KID_SUBSET_SIZE, subsets=KID_SUBSETS, seed=seed)
        found[f"KID/{name}"], found[f"KID std/{name}"] = kid
        found[f"Precision/{name}"], found[f"Recall/{name}"] = precision_recall(real, fake, neighbours=neighbours)
    return found | numbers


def validate(
    G_ema: nn.Module,
    dataset: FolderDataset,
    embedder: Embedder,
    device: torch.device,
    *,
    backbone: Backbone | None,
    max_maps: int,
    batch_size: int,
    bf16: bool,
    workers: int,
    seed: int = 0,
) -> dict[str, float]:
    """FID, KID and diversity while a generator trains: one image per label map, and two for diversity.

    Real features come from the cache after the first time. No global random state is touched.

    Args:
        G_ema: a generator in eval mode, on `device`.
        dataset: without augmentation.
        backbone: the discriminator's, on `device`, for the diversity; None leaves that out.
        max_maps: label maps, and real images, at most.

    Returns:
        "FID/NAME" and "KID/NAME" of the embedder, "Diversity/NAME" of the backbone.
    """
    compute = Compute(device, batch_size, bf16, workers)
    indices = spread_indices(len(dataset), max_maps)
    distances = [BackboneDistance(backbone)] if backbone is not None else []
    real = real_features(dataset, indices, embedder, compute)
    fakes, numbers = measure_fakes(
        G_ema,
        dataset,
        indices,
        [embedder],
        distances,
        compute,
        samples=1,
        diversity_samples=2,
        z_dim=G_ema.z_dim,
        seed=seed,
    )
    name, fake = embedder.name, fakes[embedder.name]
    kid, _ = kernel_distance(real, fake, subset_size=min(KID_SUBSET_SIZE, len(real)), subsets=KID_SUBSETS, seed=seed)
    return {f"FID/{name}": frechet_distance(real, fake), f"KID/{name}": kid} | numbers


def check_fit(snapshot: Snapshot, dataset: FolderDataset) -> None:
    """See that the label maps are of the classes, and of the size, that the generator was trained for."""
    ours, theirs = snapshot.space.classes, dataset.space.classes
    if len(ours) != len(theirs):
        raise ValueError(f"the generator paints {len(ours)} classes, the data set has {len(theirs)}")
    for label, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one != other:
            raise ValueError(f"class {label} is {one!r} to the generator, and {other!r} in the data set")
    assert dataset.size == (snapshot.height, snapshot.width) and not dataset.augment


def check_counts(maps: int, samples: int, diversity_samples: int | None, reals: int, neighbours: int) -> None:
    """See that there are images enough to compare; `diversity_samples` is None where diversity is not asked for."""
    if samples < 1 or neighbours < 1:
        raise ValueError(f"samples and neighbours are at least 1, not {samples} and {neighbours}")
    if diversity_samples is not None and diversity_samples < 2:
        raise ValueError(f"diversity compares at least 2 samples of a label map, not {diversity_samples}")
    if min(maps * samples, reals) <= neighbours:
        raise ValueError(
            f"{maps} label maps with {samples} samples each are {maps * samples} images, to compare with {reals} real "
            f"ones: precision and recall with {neighbours} neighbours need at least {neighbours + 1} on each side"
        )


def real_features(
    dataset: FolderDataset, indices: Sequence[int], embedder: Embedder, compute: Compute
) -> Float[Tensor, "n d"]:
    """As `photo_features`, of a data set's images in its frame."""
    photos = Photos([dataset.pairs[index].image for index in indices], dataset.size)
    return photo_features(photos, embedder, compute)


def photo_features(photos: Photos, embedder: Embedder, compute: Compute) -> Float[Tensor, "n d"]:
    """The photos' features, from the cache or computed, on the CPU."""

    def embed() -> Tensor:
        embedder.to(compute.device)
        found = []
        with compute.bar(f"real images, {embedder.name}", len(photos)) as bar:
            for images in read_photos(photos, compute):
                found.append(embedder(images).cpu())
                bar.update(len(images))
        return torch.cat(found)

    return cached_features(photos.files, photos.size, embedder.fingerprint, embed)


def measure_fakes(
    generator: nn.Module,
    dataset: FolderDataset,
    indices: Sequence[int],
    embedders: Sequence[Embedder],
    distances: Sequence[nn.Module],
    compute: Compute,
    *,
    samples: int,
    diversity_samples: int,
    z_dim: int,
    seed: int,
) -> tuple[dict[str, Float[Tensor, "n d"]], dict[str, float]]:
    """Make images of label maps, each once for all that measures it.

    Args:
        generator, z_dim, seed: as of `make_fakes`.
        indices: the data set's label maps to make images of.
        samples: images per label map that are embedded.
        diversity_samples: images per label map whose distances are measured.

    Returns:
        Features by embedder, on the CPU, and the mean of each distance over pairs and label maps.
    """
    for module in (*embedders, *distances):
        module.to(compute.device)
    features: dict[str, list[Tensor]] = {embedder.name: [] for embedder in embedders}
    found: dict[str, list[Tensor]] = {distance.name: [] for distance in distances}
    made = max(samples, diversity_samples) if distances else samples
    with compute.bar("generated images", len(indices) * made) as bar:
        fakes = make_fakes(generator, dataset, indices, compute, samples=made, z_dim=z_dim, seed=seed)
        for _, images in fakes:  # (M, K, 3, H, W)
            pixels = to_pixels(images[:, :samples].flatten(0, 1)).split(compute.batch_size)
            for embedder in embedders:
                features[embedder.name] += [embedder(part).cpu() for part in pixels]
            for distance in distances:
                pairs = pair_distances(distance, images[:, :diversity_samples], compute.batch_size)
                found[distance.name].append(pairs.cpu())
            bar.update(images.shape[0] * made)
    means = {name: torch.cat(values).double().mean().item() for name, values in found.items()}
    return {name: torch.cat(parts) for name, parts in features.items()}, means

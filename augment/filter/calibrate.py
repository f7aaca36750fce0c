"""What real images look like to a scorer, against which synthetic ones are then held: one file for all processes.

calibration.json    settings, losses of each class, limits, how fake real images look, typical distance
real.safetensors    features of the real images
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from safetensors.numpy import load_file, save_file
from torch import nn
from tqdm import tqdm

from augment.filter.neighbours import Neighbours, embed
from augment.filter.rules import ClassLosses, PixelRule, average
from augment.filter.scorer import Scorer, check_finite
from augment.shards import differences
from augment.storage import new_file, read_json, write_text
from dpsims.labels import LabelSpace
from dpsims.sample import Labelled

CALIBRATION, FEATURES = "calibration.json", "real.safetensors"
FAKE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        images: how many real ones.
        pixels: of each class in them.
        hardness: mean cross-entropy of each class (FreeMask's h_c); NaN for a class that is not there.
        limits: above which a pixel of the class is rejected; infinite likewise.
        fake: quantiles of how fake the real images look; empty where the scorer does not tell.
        neighbours: the real images as neighbours; None without features.
    """

    images: int
    pixels: tuple[int, ...]
    hardness: Float64[np.ndarray, " c"]
    limits: Float64[np.ndarray, " c"]
    fake: dict[str, float]
    neighbours: Neighbours | None

    def describe(self, space: LabelSpace) -> dict:
        """As `filter.json` has it: null where a class has no pixel in the real images."""

        def by_class(values: Iterable[float | int]) -> dict[str, float | int | None]:
            return {
                name: value if np.isfinite(value) else None for name, value in zip(space.classes, values, strict=True)
            }

        return {
            "hardness": by_class(self.hardness.tolist()),
            "limits": by_class(self.limits.tolist()),
            "real": {
                "images": self.images,
                "pixels": by_class(self.pixels),
                "fake": self.fake,
                "neighbour_distance": self.neighbours and self.neighbours.typical,
            },
        }


def calibrate(
    scorer: Scorer,
    reals: Iterable[tuple[str, Labelled]],
    space: LabelSpace,
    rule: PixelRule,
    *,
    embedder: nn.Module | None,
    device: torch.device,
    batch_size: int,
    total: int,
    progress: bool,
) -> Calibration:
    """Look at all real images: names, and images with their label maps in the frame of the synthetic ones.

    Raises:
        ValueError: there are none, they are too few for distances, or one has a loss that is not finite.
    """
    losses, fakes, names, features = ClassLosses(space.num_classes), [], [], []
    waiting = iter(reals)
    with tqdm(total=total, desc="real images", unit="img", disable=None if progress else True) as bar:
        while batch := list(islice(waiting, batch_size)):
            images = [image for _, (image, _) in batch]
            label_maps = [label_map for _, (_, label_map) in batch]
            found, fake = scorer.score(images, label_maps)
            check_finite(found, [name for name, _ in batch])
            for of_image, label_map in zip(found, label_maps, strict=True):
                losses.add(average(of_image, label_map, rule.window), label_map)
            fakes += [] if fake is None else fake.tolist()
            names += [name for name, _ in batch]
            if embedder is not None:
                features.append(embed(embedder, images, device))
            bar.update(len(batch))
    if not names:
        raise ValueError("there are no real images to measure the limits on")
    return Calibration(
        images=len(names),
        pixels=tuple(losses.pixels.tolist()),
        hardness=losses.mean(),
        limits=rule.limits(losses),
        fake={f"{share:g}": float(np.quantile(fakes, share)) for share in FAKE_QUANTILES} if fakes else {},
        neighbours=Neighbours.of(names, np.concatenate(features)) if features else None,
    )


def save_calibration(out: Path, calibration: Calibration, settings: dict) -> None:
    """Write it, unless another process was first: all are to use the same."""
    if (out / CALIBRATION).exists():
        return
    neighbours = calibration.neighbours
    if neighbours is not None:
        with new_file(out / FEATURES) as part:
            save_file({"features": neighbours.features}, part)
    values = {
        "images": calibration.images,
        "pixels": calibration.pixels,
        "hardness": [None if np.isnan(value) else value for value in calibration.hardness.tolist()],
        "limits": [None if np.isinf(value) else value for value in calibration.limits.tolist()],
        "fake": calibration.fake,
        "neighbours": neighbours and {"names": neighbours.names, "typical": neighbours.typical},
    }
    write_text(out / CALIBRATION, json.dumps({"settings": settings, **values}, indent=1, ensure_ascii=False) + "\n")


def load_calibration(out: Path, settings: dict) -> Calibration | None:
    """What an earlier call has measured; None if there was none.

    Raises:
        ValueError: that was with other settings.
    """
    file = out / CALIBRATION
    if not file.is_file():
        return None
    values = read_json(file)
    changed = differences(values.pop("settings"), json.loads(json.dumps(settings)))
    if changed:
        raise ValueError(f"--out {out} holds a filter of other settings ({'; '.join(changed)}); choose another --out")
    neighbours = values["neighbours"]
    if neighbours is not None:
        features = load_file(out / FEATURES)["features"]
        neighbours = Neighbours(tuple(neighbours["names"]), features, neighbours["typical"])
    return Calibration(
        images=values["images"],
        pixels=tuple(values["pixels"]),
        hardness=np.array([np.nan if value is None else value for value in values["hardness"]], float),
        limits=np.array([np.inf if value is None else value for value in values["limits"]], float),
        fake=values["fake"],
        neighbours=neighbours,
    )

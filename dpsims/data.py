"""Images with label maps from the generic layout, ROOT/{train,val,test}/{images,labels}/NAME.{jpg,png}."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dpsims.frame import fit
from dpsims.instances import centre_offsets, read_instances
from dpsims.labels import IGNORE_INDEX, LabelSpace, load_label_space, read_label_map

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Pair:
    """One labelled image on disk; `key` is its name without suffix."""

    key: str
    image: Path
    label: Path

    @property
    def instances(self) -> Path:
        return self.label.parent.parent / "instances" / f"{self.key}.png"


def find_pairs(root: Path, split: str) -> list[Pair]:
    """The labelled images of a split, by name. A missing folder or half of a pair is a ValueError that names it."""
    images, labels = root / split / "images", root / split / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"no such folder: {folder} (the layout is ROOT/{{train,val,test}}/{{images,labels}})")
    image_files = {f.stem: f for f in sorted(images.iterdir()) if f.suffix.lower() in IMAGE_SUFFIXES}
    label_files = {f.stem: f for f in sorted(labels.iterdir()) if f.suffix.lower() == ".png"}
    for kind, lonely in (("label", image_files.keys() - label_files), ("image", label_files.keys() - image_files)):
        if lonely:
            raise ValueError(f"{root / split}: {len(lonely)} files without their {kind}, such as {min(lonely)!r}")
    if not image_files:
        raise ValueError(f"{images} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return [Pair(key, image_files[key], label_files[key]) for key in sorted(image_files)]


class FolderDataset(Dataset):
    """Labelled images of one split, resized, cropped and flipped together.

    Items are asked for as (index, position) and are a function of these and the seed: {"real": (3, H, W) float32 in
    [-1, 1], "label_map": (H, W) int64} and, with `instances`, "offsets": (2, H, W) float32.

    Args:
        root, split: where the generic layout is, and which part of it.
        height, width: of the items, in pixels.
        flip: mirror half of the items.
        zoom_range: each item covers the size 1 to `zoom_range` times, and is cropped at random.
        augment: False crops the centre at zoom 1 and does not flip (validation).
        instances: also read ROOT/SPLIT/instances/NAME.png (16-bit ids, 0 = none).
        seed: of the augmentation.
    """

    def __init__(
        self,
        *,
        root: Path,
        split: str,
        height: int,
        width: int,
        flip: bool,
        zoom_range: float,
        augment: bool,
        instances: bool,
        seed: int,
    ) -> None:
        if zoom_range < 1:
            raise ValueError(f"data.zoom_range is at least 1, not {zoom_range}")
        if not root.is_dir():
            raise ValueError(f"data.root: no such folder: {root}")
        self.pairs = find_pairs(root, split)
        if not (root / "meta.json").is_file():
            raise ValueError(f'{root / "meta.json"} is missing: it names the classes ({{"classes": ["sky", …]}})')
        self.space: LabelSpace = load_label_space(root / "meta.json")
        self.size = (height, width)
        self.flip, self.zoom_range, self.augment = flip, zoom_range, augment
        self.instances, self.seed = instances, seed
        if instances and not self.pairs[0].instances.is_file():
            raise ValueError(f"generator.instances=true, but there is no {self.pairs[0].instances}")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Tensor]:
        index, position = item
        pair = self.pairs[index]
        image, label_map = read_image(pair.image), Image.fromarray(read_label_map(pair.label, self.space))
        if image.size != label_map.size:
            raise ValueError(f"{pair.image} is {image.size}, {pair.label} is {label_map.size} (width, height)")
        zoom, place, mirror = 1.0, (0.5, 0.5), False
        if self.augment:
            rng = np.random.default_rng((self.seed, position))
            zoom, place = rng.uniform(1, self.zoom_range), tuple(rng.uniform(size=2))
            mirror = self.flip and rng.uniform() < 0.5

        def place_in_frame(picture: Image.Image, resample: Image.Resampling) -> np.ndarray:
            array = np.array(fit(picture, *self.size, resample=resample, zoom=zoom, position=place))
            return np.ascontiguousarray(array[:, ::-1]) if mirror else array

        sample = {
            "real": to_float(place_in_frame(image, Image.Resampling.BICUBIC)),
            "label_map": torch.from_numpy(place_in_frame(label_map, Image.Resampling.NEAREST).astype(np.int64)),
        }
        if self.instances:
            instances = place_in_frame(read_instances(pair.instances, image.size), Image.Resampling.NEAREST)
            sample["offsets"] = torch.from_numpy(centre_offsets(instances))  # of what the frame shows
        return sample

    def class_presence(self, workers: int = 4) -> Bool[np.ndarray, "n c"]:
        """Which image holds which class. Reads every label map, and so finds a bad one before training does."""

        def present(pair: Pair) -> np.ndarray:
            ids = np.unique(read_label_map(pair.label, self.space))
            return np.isin(np.arange(self.space.num_classes), ids[ids != IGNORE_INDEX])

        with ThreadPoolExecutor(workers) as pool:
            rows = pool.map(present, self.pairs)
            return np.stack(list(tqdm(rows, "label maps", total=len(self), unit="map", leave=False, disable=None)))


def read_image(file: Path) -> Image.Image:
    """An image file as RGB; a ValueError names a file that is none."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"image cannot be read ({error}): {file}") from error


def to_float(image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """0..255 → [-1, 1], channels first."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1

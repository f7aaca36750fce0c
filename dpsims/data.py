"""Images with label maps of a split, and instance offsets where asked for, as training takes them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dpsims.frame import fit
from dpsims.instances import InstanceMaps, centre_offsets
from dpsims.labels import IGNORE_INDEX, UNREADABLE, LabelSpace, find_label_space, read_label_map
from dpsims.layouts import Pair, find_instances, find_layout, find_pairs


class FolderDataset(Dataset):
    """Labelled images of one split, resized, cropped and flipped together.

    Items are asked for as (index, position) and are a function of these and the seed: {"real": (3, H, W) float32 in
    [-1, 1], "label_map": (H, W) int64} and, with `instances`, "offsets": (2, H, W) float32.

    Args:
        root, split: where the data set is, and which part of it.
        layout: how its folders and files are named (`dpsims/layouts.py`).
        label_space: its classes (`dpsims/label_spaces`); None is ROOT/meta.json.
        height, width: of the items, in pixels.
        flip: mirror half of the items.
        zoom_range: each item covers the size 1 to `zoom_range` times, and is cropped at random.
        augment: False crops the centre at zoom 1 and does not flip (validation).
        instances: also read the instance maps.
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
        layout: str = "generic",
        label_space: str | None = None,
    ) -> None:
        if zoom_range < 1:
            raise ValueError(f"data.zoom_range is at least 1, not {zoom_range}")
        if not root.is_dir():
            raise ValueError(f"data.root: no such folder: {root}")
        self.pairs: list[Pair] = find_pairs(root, split, layout)
        self.space: LabelSpace = find_label_space(label_space, root)
        self.size = (height, width)
        self.flip, self.zoom_range, self.augment = flip, zoom_range, augment
        self.seed = seed
        self.instances: InstanceMaps | None = None
        if instances:
            self.instances = find_instances(root, split, layout)
            if self.instances is None:
                source = find_layout(layout).instance_source.replace("SPLIT", split)
                raise ValueError(f"generator.instances=true, but {root} has no {source}")
            lacking = [pair.key for pair in self.pairs if pair.key not in self.instances]
            if lacking:
                raise ValueError(
                    f"generator.instances=true, but {len(lacking)} of {len(self)} images of {root}, split {split}, "
                    f"have no instance map, such as {lacking[0]!r}"
                )

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
        if self.instances is not None:
            instances = place_in_frame(self.instances.read(pair.key, image.size), Image.Resampling.NEAREST)
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
    """An image file as RGB, whatever it is stored as; a ValueError names a file that is none."""
    try:
        with Image.open(file) as image:
            mode, rgb = image.mode, image.convert("RGB")
    except UNREADABLE as error:
        raise ValueError(f"image cannot be read ({error}): {file}") from error
    if mode.startswith(("I", "F")):  # Pillow would cut off what is above 255
        raise ValueError(f"image has more than 8 bits a channel (mode {mode!r}): {file}")
    return rgb


def to_float(image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """0..255 → [-1, 1], channels first."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1

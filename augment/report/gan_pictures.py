"""What generators paint, to look at side by side: the same label maps for all, and the same noise where z_dim is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.report.page import drawing_uri, photo_uri
from dpsims.sample import Snapshot, noise, to_uint8

Item = dict[str, Tensor]  # "real" (3, H, W) in [-1, 1], "label_map" (H, W), and "offsets" (2, H, W) for some generators


@dataclass(frozen=True)
class Block:
    """One label map and what every generator made of it, as data URIs.

    Attributes:
        name: of the label map.
        drawing: the coloured label map.
        photo: the real photo that it belongs to.
        rows: images by generator.
    """

    name: str
    drawing: str
    photo: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Painter:
    """A generator, and the items of the label maps to show, in its size.

    Attributes:
        items: by name, the same names for every generator.
    """

    snapshot: Snapshot
    items: dict[str, Item]
    device: torch.device
    bf16: bool

    @torch.inference_mode()
    def paint(self, name: str, z: Float[Tensor, "k z"]) -> list[str]:
        """An item's label map with K noises."""
        item = self.items[name]
        inputs = [item[key].unsqueeze(0).to(self.device) for key in ("label_map", "offsets") if key in item]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            images = self.snapshot.generator.decode(self.snapshot.generator.encode(*inputs), z.to(self.device))
        return [photo_uri(image) for image in to_uint8(images).cpu().numpy()]

    def drawing(self, name: str) -> str:
        label_map = self.items[name]["label_map"].numpy().astype(np.uint8)
        return drawing_uri(self.snapshot.space.colorize(label_map))

    def photo(self, name: str) -> str:
        return photo_uri(to_uint8(self.items[name]["real"].unsqueeze(0))[0].numpy())


def sample_blocks(painters: Sequence[Painter], num_noises: int) -> list[Block]:
    """Label map and real photo, and each label map painted with the same noises (where `z_dim` is the same)."""
    first = painters[0]
    blocks = []
    for name in first.items:
        rows = [painter.paint(name, noise(range(num_noises), painter.snapshot.z_dim)) for painter in painters]
        blocks.append(Block(name, first.drawing(name), first.photo(name), rows))
    return blocks


def interpolation_blocks(painters: Sequence[Painter], num_maps: int, steps: int) -> list[Block]:
    """Label maps painted with z on the way from one noise to another (Fig. S3), other noises for each label map."""
    first = painters[0]
    blocks = []
    for index, name in enumerate(list(first.items)[:num_maps]):
        rows = []
        for painter in painters:
            start, end = noise((2 * index, 2 * index + 1), painter.snapshot.z_dim)
            rows.append(painter.paint(name, slerp(start, end, steps)))
        blocks.append(Block(name, first.drawing(name), first.photo(name), rows))
    return blocks


def slerp(start: Float[Tensor, " z"], end: Float[Tensor, " z"], steps: int) -> Float[Tensor, "k z"]:
    """From one z to another on the unit sphere, where the generator puts its noise, in steps of the same angle."""
    start, end = start / start.norm(), end / end.norm()
    angle = torch.acos((start @ end).clamp(-1, 1))
    t = torch.linspace(0, 1, steps).unsqueeze(1)
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)

"""Validation in the midst of training: figures of the averaged generator, the same way each time, and the best."""

import json
from pathlib import Path

import torch

from dpsims.backbone import Backbone
from dpsims.config import TrainConfig
from dpsims.data import FolderDataset
from dpsims.generator import Generator
from dpsims.metrics.embed import load_embedder
from dpsims.metrics.evaluate import real_features, validate
from dpsims.metrics.generate import Compute
from dpsims.spread import spread_indices


class Validation:
    """The validation of a run: the same label maps, noises and real images every time.

    Making one reads them all, so that a bad file stops the run at its start.

    Attributes:
        key: name of the figure that decides, such as "FID/tf_efficientnet_lite0"; lower is better.

    Raises:
        ValueError: fewer than two validation images, or a file that cannot be used.
    """

    def __init__(
        self, config: TrainConfig, dataset: FolderDataset, backbone: Backbone, device: torch.device, bf16: bool
    ) -> None:
        self.dataset, self.backbone = dataset, backbone
        self.max_maps = config.validation.max_maps
        if min(len(dataset), self.max_maps) < 2:
            raise ValueError(
                f"validation compares at least 2 images, not {min(len(dataset), self.max_maps)} (data.val_split has "
                f"{len(dataset)}, validation.max_maps={self.max_maps}); validation.every_kimg=null does without"
            )
        batch_size = min(config.run.micro_batch or config.run.batch_size, 16)
        self.compute = Compute(device, batch_size, bf16, config.data.workers)
        self.embedder = load_embedder(config.validation.network, config.validation.weights).to(device)
        self.key = f"{config.validation.metric}/{self.embedder.name}"
        dataset.class_presence()
        real_features(dataset, spread_indices(len(dataset), self.max_maps), self.embedder, self.compute)

    def figures(self, G: Generator) -> dict[str, float]:
        return validate(
            G,
            self.dataset,
            self.embedder,
            self.compute.device,
            backbone=self.backbone,
            max_maps=self.max_maps,
            batch_size=self.compute.batch_size,
            bf16=self.compute.bf16,
            workers=self.compute.workers,
        )


def read_best(folder: Path, key: str) -> dict | None:
    """What the snapshot in `best/` was kept for: {"figure", "value", "images_seen"}; None if it was another figure."""
    file = folder / "generator.json"
    if not file.is_file():
        return None
    training = json.loads(file.read_text())["training"]
    best = training.get("validation", {}) | {"images_seen": training["images_seen"]}
    return best if best.get("figure") == key else None

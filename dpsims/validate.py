"""Figures of the averaged generator on held-out label maps, the same way each time."""

import torch

from dpsims.backbone import Backbone
from dpsims.config import TrainConfig
from dpsims.data import FolderDataset
from dpsims.generator import Generator
from dpsims.metrics.embed import load_embedder
from dpsims.metrics.evaluate import validate


class Validation:
    """The validation of a run: the same label maps, noises and real images every time.

    Attributes:
        key: name of the figure that decides, such as "FID/tf_efficientnet_lite0"; lower is better.
    """

    def __init__(
        self, config: TrainConfig, dataset: FolderDataset, backbone: Backbone, device: torch.device, bf16: bool
    ) -> None:
        self.dataset, self.backbone, self.device, self.bf16 = dataset, backbone, device, bf16
        self.max_maps, self.workers = config.validation.max_maps, config.data.workers
        self.batch_size = min(config.run.micro_batch or config.run.batch_size, 16)
        self.embedder = load_embedder(config.validation.network, config.validation.weights).to(device)
        self.key = f"{config.validation.metric}/{self.embedder.name}"

    def figures(self, G: Generator) -> dict[str, float]:
        return validate(
            G,
            self.dataset,
            self.embedder,
            self.device,
            backbone=self.backbone,
            max_maps=self.max_maps,
            batch_size=self.batch_size,
            bf16=self.bf16,
            workers=self.workers,
        )

"""A trained discriminator as a judge of images: what each pixel shows, and how real it looks (N+1 classes, eq. 1)."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from jaxtyping import Float, UInt8
from torch import Tensor

from dpsims.build import build_discriminator
from dpsims.config import TrainConfig, from_dict
from dpsims.discriminator import Discriminator
from dpsims.labels import IGNORE_INDEX, LabelSpace
from dpsims.losses import FAKE
from dpsims.run_folder import read_checkpoint
from dpsims.sample import file_sha256


@dataclass(frozen=True)
class Judge:
    """The discriminator of a run, frozen and in eval mode.

    Attributes:
        height, width: of the images that it was trained on, in pixels.
        images_seen: how many images it was trained on.
        sha256: of the checkpoint, hexadecimal.
    """

    net: Discriminator
    space: LabelSpace
    height: int
    width: int
    images_seen: int
    sha256: str

    @torch.no_grad()
    def look(
        self, images: UInt8[Tensor, "n 3 h w"], label_maps: UInt8[Tensor, "n h w"]
    ) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n h w"]]:
        """How little each pixel looks like its class, and how fake.

        Returns:
            -log p_c / (1 - p_fake), the cross-entropy of the pixel's class given that the image is real; 0 where the
            label map is 255. And p_fake, 0 to 1.
        """
        images = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        logits = self.net(images).float()  # (N, C+1, H, W)
        classes = logits[:, FAKE + 1 :]
        losses = F.cross_entropy(classes, label_maps.long(), ignore_index=IGNORE_INDEX, reduction="none")
        return losses, logits.softmax(dim=1)[:, FAKE]


def load_judge(run: Path, device: torch.device | str = "cpu") -> Judge:
    """From the newest checkpoint of a run folder. Nothing is unpickled.

    Raises:
        ValueError: no run folder, no checkpoint, or one that does not fit the configuration.
    """
    config_file, checkpoint, snapshot = run / "config.yaml", run / "checkpoint.pt", run / "generator.json"
    for file in (config_file, checkpoint, snapshot):
        if not file.is_file():
            raise ValueError(f"{run} is not the run folder of a GAN: {file.name} is missing")
    config = from_dict(TrainConfig, yaml.safe_load(config_file.read_text()))
    space = LabelSpace.from_meta(json.loads(snapshot.read_text())["label_space"], source=str(snapshot))
    state = read_checkpoint(checkpoint)
    net = build_discriminator(config, space)
    try:
        net.load_state_dict(state["D"])
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{checkpoint} does not fit {config_file}: {error}") from error
    net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    size = (config.data.height, config.data.width)
    return Judge(net, space, *size, state["images_seen"], file_sha256(checkpoint))

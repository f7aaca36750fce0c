"""A training configuration small enough for a test, composed from the project's own YAML files."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dpsims.config import TrainConfig, from_dict

CONFIGS = Path(__file__).parents[1] / "configs" / "gan"
TINY = [
    "data.height=32",
    "data.width=64",
    "data.workers=0",
    "generator.channel_base=2",
    "generator.cond_channels=8",
    "generator.spade_hidden=8",
    "generator.attention_size=16",
    "discriminator.full_channels=8",
    "discriminator.penultimate_channels=8",
    "loss.contrastive.network=tf_efficientnet_lite0",
    "loss.contrastive.strides=[4,8]",
    "loss.contrastive.embedding_dim=8",
    "run.batch_size=2",
    "run.precision=fp32",  # on every machine
    "run.sample_maps=2",
    "run.sample_noises=2",
    "validation.every_kimg=null",
]


def compose_options(overrides: list[str]) -> dict:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_container(compose("default", overrides), resolve=True)


def tiny_config(root: Path, out: Path, *overrides: str) -> TrainConfig:
    return from_dict(TrainConfig, compose_options([f"data.root={root}", f"out={out}", *TINY, *overrides]))

"""From a configuration to the objects of a training run, in one place."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from timm.layers import set_fused_attn, use_fused_attn

from dpsims.backbone import Backbone
from dpsims.config import DataConfig, TrainConfig
from dpsims.contrastive import PatchContrast
from dpsims.data import FolderDataset
from dpsims.discriminator import Discriminator
from dpsims.gan_step import GANStep
from dpsims.generator import Generator
from dpsims.labels import LabelSpace


def build_dataset(config: TrainConfig, split: str, *, augment: bool) -> FolderDataset:
    data: DataConfig = config.data
    return FolderDataset(
        root=Path(data.root),
        layout=data.layout,
        label_space=data.label_space,
        split=split,
        height=data.height,
        width=data.width,
        flip=data.flip,
        zoom_range=data.zoom_range,
        augment=augment,
        instances=config.generator.instances,
        seed=config.seed,
    )


def architecture(config: TrainConfig, space: LabelSpace) -> dict:
    """Keyword arguments of `Generator`; what the data decides is read off the data."""
    size = {"height": config.data.height, "width": config.data.width}
    return {"num_classes": space.num_classes, **size, **vars(config.generator)}


@contextmanager
def plain_attention() -> Iterator[None]:
    """Networks that timm makes within it attend step by step: R1 differentiates twice, the fused kernels but once."""
    before = use_fused_attn()
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(before > 0, experimental=before > 1)


def build_discriminator(config: TrainConfig, space: LabelSpace) -> Discriminator:
    """With fresh weights around its backbone's."""
    d = config.discriminator
    with plain_attention() if config.loss.r1.weight > 0 else nullcontext():
        backbone = Backbone(image_size=(config.data.height, config.data.width), **vars(d.backbone))
    return Discriminator(
        backbone=backbone,
        num_classes=space.num_classes,
        nonlinearity=d.nonlinearity,
        normalization=d.normalization,
        full_channels=d.full_channels,
        penultimate_channels=d.penultimate_channels,
    )


def build_step(config: TrainConfig, space: LabelSpace) -> GANStep:
    """The nets with fresh weights, and their losses."""
    contrastive, diversity = config.loss.contrastive, config.loss.diversity
    image_size = (config.data.height, config.data.width)
    generator = Generator(**architecture(config, space))
    discriminator = build_discriminator(config, space)
    contrast = None
    if contrastive.weight > 0:
        contrast = PatchContrast(
            Backbone(
                contrastive.network,
                pretrained=True,
                weights=contrastive.weights,
                image_size=image_size,
                strides=contrastive.strides,
            ),
            embedding_dim=contrastive.embedding_dim,
            num_patches=contrastive.num_patches,
            temperature=contrastive.temperature,
        )
    return GANStep(
        G=generator,
        D=discriminator,
        contrast=contrast,
        focal_gamma=config.loss.focal_gamma,
        lambda_contrastive=contrastive.weight,
        lambda_diversity=diversity.weight,
        diversity_space=diversity.space,
        stop_gradient=diversity.stop_gradient,
        augment=config.discriminator.augment,
        lambda_labelmix=config.loss.labelmix.weight,
        lambda_r1=config.loss.r1.weight,
        tau_diversity=diversity.tau or 0.0,
    )

"""What one looks at while a GAN trains, beside its losses: how D sees this batch, and what z does to the images."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dpsims import losses
from dpsims import noise as draw
from dpsims.gan_step import Batch, GANStep
from dpsims.generator import Generator
from dpsims.labels import IGNORE_INDEX, LabelSpace
from dpsims.metrics.diversity import feature_distance
from dpsims.noise import StepRandom

MAX_IMAGES = 8  # of the batch


@dataclass(frozen=True)
class Observation:
    """Figures by name, and the values behind them for histograms.

    Figures:
        Accuracy/real: share of labelled pixels of real images that D gives their class.
        Accuracy/fake: share of fake pixels that D calls fake.
        Accuracy/fooled: share of labelled fake pixels that D gives the class of their label.
        Diversity/z: LPIPS-like distance of two fakes of one label map, in features of D's backbone.
        Range/outside: share of the fakes' values outside [-1, 1].
    """

    figures: dict[str, float]
    class_accuracy: dict[str, float]
    logits: dict[str, Float[Tensor, " k"]]


@torch.no_grad()
def observe(step: GANStep, G: Generator, space: LabelSpace, batch: Batch, random: StepRandom) -> Observation:
    """Look at up to `MAX_IMAGES` images of a batch with the averaged generator `G`, and D as G's phase sees it.

    Nothing changes by it, so that how often one looks does not show in the weights.
    """
    batch = batch.split(MAX_IMAGES)[0]
    training = step.D.training
    step.D.eval()
    z = torch.cat([random.z(batch.positions, G.z_dim, purpose) for purpose in (draw.G_Z, draw.WATCH_Z)])
    z = z.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1).to(batch.real.device)  # two of a map in a row
    fakes = G(batch.label_map, z, batch.offsets)  # (2N, 3, H, W)
    real_logits = step.D(batch.real).float()  # (N, C+1, H, W)
    fake_logits = step.D(fakes[::2]).float()
    pyramid = step.D.backbone(fakes.clamp(-1, 1))
    step.D.train(training)

    known = batch.label_map != IGNORE_INDEX
    target = torch.where(known, batch.label_map + 1, losses.FAKE)
    hit = (real_logits.argmax(1) == target) & known
    pixels = losses.class_pixels(batch.label_map, space.num_classes)
    hits = torch.bincount(batch.label_map[hit], minlength=256)[: space.num_classes]
    seen_as = fake_logits.argmax(1)
    labelled = known.sum().clamp(min=1)
    figures = {
        "Accuracy/real": hit.sum() / labelled,
        "Accuracy/fake": (seen_as == losses.FAKE).float().mean(),
        "Accuracy/fooled": ((seen_as == target) & known).sum() / labelled,
        "Diversity/z": feature_distance([f[::2] for f in pyramid], [f[1::2] for f in pyramid]).mean(),
        "Range/outside": (fakes.abs() > 1).float().mean(),
    }
    return Observation(
        dict(zip(figures, torch.stack([value.float() for value in figures.values()]).tolist(), strict=True)),
        {
            name: share
            for name, share, count in zip(space.classes, (hits / pixels).tolist(), pixels.tolist(), strict=True)
            if count > 0
        },
        {
            "Logits/real": real_logits.gather(1, target.unsqueeze(1))[known.unsqueeze(1)].cpu(),
            "Logits/fake": fake_logits[:, losses.FAKE].flatten().cpu(),
        },
    )

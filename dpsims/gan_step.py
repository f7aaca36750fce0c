"""One step of DP-SIMS as two losses: which graph each phase needs. The loop decides when to step what."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dpsims import losses
from dpsims import noise as draw
from dpsims.contrastive import PatchContrast
from dpsims.diff_augment import DRAWS, DiffAugment
from dpsims.discriminator import Discriminator
from dpsims.generator import Conditioning, Generator
from dpsims.layers import settle_weights
from dpsims.noise import StepRandom


@dataclass(frozen=True)
class Batch:
    """Real images with their label maps, on the device of the nets.

    Attributes:
        real: in [-1, 1].
        label_map: ids 0..C-1, 255 = ignore.
        positions: of each image in the training stream; its random numbers follow from it.
        offsets: to instance centres, for generators that take them.
        class_weights: α_c of the whole step's images, on all ranks; None weighs all classes 1.
    """

    real: Float[Tensor, "n 3 H W"]
    label_map: Int[Tensor, "n H W"]
    positions: Sequence[int]
    offsets: Float[Tensor, "n 2 H W"] | None = None
    class_weights: Float[Tensor, " c"] | None = None

    def __len__(self) -> int:
        return len(self.real)

    def split(self, size: int) -> list["Batch"]:
        """Batches of at most `size` images, with the weights of the whole."""
        parts = [slice(start, start + size) for start in range(0, len(self), size)]
        cut = ("real", "label_map", "positions", "offsets")
        return [
            dataclasses.replace(self, **{key: None if (v := getattr(self, key)) is None else v[part] for key in cut})
            for part in parts
        ]


class Phase(nn.Module):
    """The nets that one phase trains, as one module whose forward is the phase's loss: what DDP wraps."""

    def __init__(self, nets: Sequence[nn.Module], loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.loss = loss

    def forward(self, *args: object) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(*args)

    def trainable(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


@dataclass
class GANStep:
    """The nets, and what each phase asks of them.

    Attributes:
        focal_gamma: γ of the N+1 loss; 0 is cross-entropy.
        lambda_contrastive, lambda_diversity, lambda_labelmix, lambda_r1: weights of the other terms; at 0 a term is not
            computed. LabelMix and R1 are not the paper's.
        tau_diversity: cut-off of the diversity hinge (eq. 7); set before the first generator step.
        diversity_space: "features" of G's penultimate layer, or "image".
        stop_gradient: let no gradient through the second branch of the diversity loss.
        augment: policies of `DiffAugment` for all that D sees, in both phases.
    """

    G: Generator
    D: Discriminator
    contrast: PatchContrast | None
    focal_gamma: float
    lambda_contrastive: float
    lambda_diversity: float
    diversity_space: str
    stop_gradient: bool
    augment: Sequence[str] = ()
    lambda_labelmix: float = 0.0
    lambda_r1: float = 0.0
    tau_diversity: float = 0.0

    def phases(self) -> dict[str, Phase]:
        """What is stepped, in order; the projectors of the contrastive loss go with G."""
        contrast = [self.contrast] if self.contrast is not None else []
        return {"D": Phase([self.D], self.discriminator_loss), "G": Phase([self.G, *contrast], self.generator_loss)}

    def discriminator_loss(
        self, batch: Batch, random: StepRandom, penalize: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D = E_real[weighted focal to the classes] + E_fake[focal to "fake"], and by option LabelMix and R1.

        Args:
            penalize: add the R1 term in this step.
        """
        self.D.train()
        settle_weights(self.D, gradient=True)
        settle_weights(self.G, gradient=False)
        with torch.no_grad():
            fake = self.G(batch.label_map, self._z(batch, random, draw.D_Z), batch.offsets)
        change = self._change(batch, random, draw.D_AUGMENT)
        real = change.images(batch.real).detach().requires_grad_(penalize)
        images = [real, change.images(fake)]
        if self.lambda_labelmix > 0:
            from_real = change.mask(self._mix_mask(batch, random))  # (N, H, W)
            images.append(torch.where(from_real.unsqueeze(1), real.detach(), images[1]))
        logits = self.D(torch.cat(images)).float()  # one forward: joint batch statistics
        real_logits, fake_logits, *mixed_logits = logits.split(len(batch))  # (N, C+1, H, W) each

        label_map = change.label_map(batch.label_map)
        valid = change.mask(torch.ones_like(label_map, dtype=torch.bool)) if self.augment else None
        terms = {
            "Loss/D/real": losses.labelled_loss(real_logits, label_map, batch.class_weights, self.focal_gamma),
            "Loss/D/fake": losses.fake_loss(fake_logits, self.focal_gamma, valid),
        }
        loss = terms["Loss/D/real"] + terms["Loss/D/fake"]
        if self.lambda_labelmix > 0:
            terms["Loss/D/labelmix"] = losses.labelmix_loss(mixed_logits[0], real_logits, fake_logits, from_real)
            loss = loss + self.lambda_labelmix * terms["Loss/D/labelmix"]
        if penalize:
            terms["Loss/D/r1"] = losses.r1_penalty(real_logits, label_map, real)
            loss = loss + self.lambda_r1 * terms["Loss/D/r1"]
        return loss, terms

    def generator_loss(self, batch: Batch, random: StepRandom) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G = L_adv + λ_C L_C + λ_div L_div."""
        self.D.eval()
        settle_weights(self.G, *([self.contrast.projectors] if self.contrast is not None else []), gradient=True)
        settle_weights(self.D, gradient=False)
        z = self._z(batch, random, draw.G_Z)
        conditioning = self.G.encode(batch.label_map, batch.offsets)
        features = self.G.decode_features(conditioning, z)  # (N, base, H, W)
        fake = self.G.to_image(features)  # (N, 3, H, W)

        change = self._change(batch, random, draw.G_AUGMENT)
        logits = self.D(change.images(fake)).float()  # (N, C+1, H, W)
        label_map = change.label_map(batch.label_map)
        loss = losses.labelled_loss(logits, label_map, batch.class_weights, self.focal_gamma)
        terms = {"Loss/G/adversarial": loss}
        if self.contrast is not None and self.lambda_contrastive > 0:
            terms["Loss/G/contrastive"] = self.contrast(fake, batch.real, random.shared(draw.PATCHES))
            loss = loss + self.lambda_contrastive * terms["Loss/G/contrastive"]
        if self.lambda_diversity > 0:
            other_z = self._z(batch, random, draw.OTHER_Z)
            terms["Loss/G/diversity"] = self._diversity(conditioning, features, fake, z, other_z)
            loss = loss + self.lambda_diversity * terms["Loss/G/diversity"]
        return loss, terms

    @torch.no_grad()
    def mean_distance(self, G: Generator, batch: Batch, random: StepRandom) -> Tensor:
        """The batch's contribution to τ_div (eq. 7) with the samples of a generator."""
        z = self._z(batch, random, draw.TAU_Z)
        features = G.decode_features(G.encode(batch.label_map, batch.offsets), z)
        return losses.mean_distance(features if self.diversity_space == "features" else G.to_image(features), z)

    def _diversity(
        self,
        conditioning: Conditioning,
        features: Float[Tensor, "n b H W"],
        fake: Float[Tensor, "n 3 H W"],
        z: Float[Tensor, "n z"],
        other_z: Float[Tensor, "n z"],
    ) -> Tensor:
        """The hinge between these samples and others of the same label maps."""
        with torch.set_grad_enabled(not self.stop_gradient):
            other = self.G.decode_features(conditioning, other_z)
            if self.diversity_space == "image":
                features, other = fake, self.G.to_image(other)
        return losses.diversity_loss(features, other, z, other_z, self.tau_diversity)

    def _z(self, batch: Batch, random: StepRandom, purpose: int) -> Float[Tensor, "n z"]:
        return random.z(batch.positions, self.G.z_dim, purpose).to(batch.real.device)

    def _change(self, batch: Batch, random: StepRandom, purpose: int) -> DiffAugment:
        draws = random.uniform(batch.positions, DRAWS, purpose) if self.augment else torch.zeros(len(batch), DRAWS)
        return DiffAugment(self.augment, draws)

    def _mix_mask(self, batch: Batch, random: StepRandom) -> Bool[Tensor, "n H W"]:
        """True where the mix shows the real image: a coin for each class of each image, so cuts follow its objects."""
        coins = (random.uniform(batch.positions, 256, draw.LABELMIX) < 0.5).to(batch.real.device)  # (N, 256)
        return coins.gather(1, batch.label_map.flatten(1)).view_as(batch.label_map)

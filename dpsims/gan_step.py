"""One step of DP-SIMS as two losses: which graph each phase needs. The loop decides when to step what."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dpsims import losses
from dpsims.contrastive import PatchContrast
from dpsims.discriminator import Discriminator
from dpsims.generator import Conditioning, Generator

DIVERSITY_SPACES = ("features", "image")


@dataclass(frozen=True)
class Batch:
    """Real images with their label maps, on the device of the nets."""

    real: Float[Tensor, "n 3 H W"]  # in [-1, 1]
    label_map: Int[Tensor, "n H W"]
    offsets: Float[Tensor, "n 2 H W"] | None = None

    def __len__(self) -> int:
        return len(self.real)


@dataclass
class GANStep:
    """The nets, and what each phase asks of them.

    Attributes:
        focal_gamma: γ of the N+1 loss; 0 is cross-entropy.
        weigh_classes: weigh classes by inverse pixel frequency.
        lambda_contrastive, lambda_diversity: weights of the two other terms; at 0 a term is not computed.
        tau_diversity: cut-off of the diversity hinge (eq. 7); set before the first generator step.
        diversity_space: "features" of G's penultimate layer, or "image".
        stop_gradient: let no gradient through the second branch of the diversity loss.
    """

    G: Generator
    D: Discriminator
    contrast: PatchContrast | None
    focal_gamma: float
    weigh_classes: bool
    lambda_contrastive: float
    lambda_diversity: float
    diversity_space: str
    stop_gradient: bool
    tau_diversity: float = 0.0

    def discriminator_loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """L_D = E_real[weighted focal to the classes] + E_fake[focal to "fake"]."""
        self.D.train()
        with torch.no_grad():
            fake = self.G(batch.label_map, self.noise(len(batch), generator), batch.offsets)
        logits = self.D(torch.cat([batch.real, fake]))  # one forward: joint batch statistics
        real_logits, fake_logits = logits.float().chunk(2)  # (N, C+1, H, W)
        real = losses.labelled_loss(real_logits, batch.label_map, self._weights(batch), self.focal_gamma)
        fake = losses.fake_loss(fake_logits, self.focal_gamma)
        return real + fake, {"Loss/D/real": real, "Loss/D/fake": fake}

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G = L_adv + λ_C L_C + λ_div L_div."""
        self.D.eval()
        z = self.noise(len(batch), generator)
        conditioning = self.G.encode(batch.label_map, batch.offsets)
        features = self.G.decode_features(conditioning, z)  # (N, base, H, W)
        fake = self.G.to_image(features)  # (N, 3, H, W)

        logits = self.D(fake).float()  # (N, C+1, H, W)
        loss = losses.labelled_loss(logits, batch.label_map, self._weights(batch), self.focal_gamma)
        logs = {"Loss/G/adversarial": loss}
        if self.contrast is not None and self.lambda_contrastive > 0:
            logs["Loss/G/contrastive"] = self.contrast(fake, batch.real, generator)
            loss = loss + self.lambda_contrastive * logs["Loss/G/contrastive"]
        if self.lambda_diversity > 0:
            logs["Loss/G/diversity"] = self._diversity(conditioning, features, fake, z, generator)
            loss = loss + self.lambda_diversity * logs["Loss/G/diversity"]
        return loss, logs

    def mean_distance(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The batch's contribution to τ_div (eq. 7), without gradient."""
        z = self.noise(len(batch), generator)
        with torch.no_grad():
            features = self.G.decode_features(self.G.encode(batch.label_map, batch.offsets), z)
            space = features if self.diversity_space == "features" else self.G.to_image(features)
            return losses.mean_distance(space, z)

    def noise(self, count: int, generator: torch.Generator) -> Float[Tensor, "n z"]:
        """Standard normal z, drawn on the CPU: the same on every device. (N, Z)"""
        z = torch.randn(count, self.G.z_dim, generator=generator)
        return z.to(next(self.G.parameters()).device)

    def trainable(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each phase steps; the projectors of the contrastive loss go with G."""
        contrast = self.contrast.parameters() if self.contrast is not None else ()
        return {
            "D": [p for p in self.D.parameters() if p.requires_grad],
            "G": [p for p in (*self.G.parameters(), *contrast) if p.requires_grad],
        }

    def _diversity(
        self,
        conditioning: Conditioning,
        features: Float[Tensor, "n b H W"],
        fake: Float[Tensor, "n 3 H W"],
        z: Float[Tensor, "n z"],
        generator: torch.Generator,
    ) -> Tensor:
        """The hinge between these samples and others of the same label maps."""
        other_z = self.noise(len(z), generator)
        with torch.set_grad_enabled(not self.stop_gradient):
            other = self.G.decode_features(conditioning, other_z)
            if self.diversity_space == "image":
                features, other = fake, self.G.to_image(other)
        return losses.diversity_loss(features, other, z, other_z, self.tau_diversity)

    def _weights(self, batch: Batch) -> Tensor | None:
        return losses.class_weights(batch.label_map, self.G.num_classes) if self.weigh_classes else None

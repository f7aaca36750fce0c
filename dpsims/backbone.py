"""A pre-trained image network as a frozen feature pyramid: the eye of the discriminator and of the perceptual loss."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from timm.layers import DropPath
from torch import Tensor, nn

from dpsims.pretrained import create_features

STRIDES = (4, 8, 16, 32)


class Backbone(nn.Module):
    """Images in [-1, 1] → feature maps, finest first.

    A frozen backbone stays in eval mode through `.train()` and, if pre-trained, out of `state_dict()`, but inside the
    graph: gradients pass through it to the image.

    Args:
        name: timm model name.
        pretrained: load weights (from `weights`, a package or timm's hub); False leaves them random.
        weights: local weight file.
        image_size: (height, width) in pixels.
        frozen: do not train it.
        strides: reductions wanted, each of which the network must have.

    Attributes:
        channels: width of each feature map that it returns.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool,
        weights: str | None = None,
        image_size: tuple[int, int],
        frozen: bool = True,
        strides: Sequence[int] = STRIDES,
    ) -> None:
        super().__init__()
        self.net = create_features(name, pretrained=pretrained, weights=weights, image_size=image_size)
        self.frozen = frozen
        self.channels_last = str(getattr(self.net, "output_fmt", None)).endswith("NHWC")

        available = list(self.net.feature_info.reduction())
        missing = [stride for stride in strides if stride not in available]
        if missing:
            raise ValueError(f"backbone {name!r} has features at strides {available}; missing: {missing}")
        self.levels = [available.index(stride) for stride in strides]
        self.channels = [self.net.feature_info.channels()[level] for level in self.levels]

        cfg = self.net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(cfg["std"]).view(1, 3, 1, 1), persistent=False)

        for module in self.net.modules():  # chance would come from a generator that no checkpoint holds for all ranks
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
            elif isinstance(module, nn.Dropout):
                module.p = 0.0
        if frozen:
            self.net.eval().requires_grad_(False)
        if frozen and pretrained:
            self.keys = list(self.net.state_dict())
            self.register_state_dict_post_hook(Backbone._leave_out)
            self.register_load_state_dict_pre_hook(Backbone._fill_in)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        if self.frozen:
            self.net.eval()
        return self

    def forward(self, image: Float[Tensor, "n 3 H W"]) -> list[Float[Tensor, "n _ _ _"]]:
        features = self.net(((image + 1) / 2 - self.mean) / self.std)
        features = [features[level] for level in self.levels]
        return [f.permute(0, 3, 1, 2) for f in features] if self.channels_last else features  # (N, C_s, H/s, W/s)

    def _leave_out(self, state: dict[str, Tensor], prefix: str, local_metadata: dict) -> None:
        """Frozen weights come from their own file again; a checkpoint does not repeat them."""
        for key in self.keys:
            del state[f"{prefix}net.{key}"]

    def _fill_in(self, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        """The other half of `_leave_out`: give strict loading the weights that are here already."""
        tensors = dict(self.net.named_parameters()) | dict(self.net.named_buffers())
        state.update({f"{prefix}net.{key}": tensors[key] for key in self.keys})

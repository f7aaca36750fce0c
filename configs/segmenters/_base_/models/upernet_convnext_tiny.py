"""UPerNet (Xiao et al. 2018) on timm's ConvNeXt-T with ImageNet weights: the heads of mmseg's config for ADE20K.

Another encoder of timm's takes other `in_channels` of both heads and, where its features are NHWC (Swin),
`model.backbone.feature_cls=getter model.backbone.strict_img_size=False`.
"""

_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py"
]

model = _base_.pop("model")
_base_.clear()  # the data and the schedule
model.backbone = dict(type="TIMMBackbone", model_name="convnext_tiny.fb_in22k_ft_in1k", drop_path_rate=0.4)
model.test_cfg = dict(mode="whole")
model.decode_head.loss_decode.avg_non_ignore = True
model.auxiliary_head.loss_decode.avg_non_ignore = True

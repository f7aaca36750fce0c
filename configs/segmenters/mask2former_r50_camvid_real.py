"""Mask2Former on a ResNet-50 on CamVid's real images alone."""

_base_ = ["_base_/models/mask2former_r50.py", "_base_/datasets/camvid.py", "_base_/schedules/adamw_mask2former.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=len(_base_.metainfo["classes"]),
        loss_cls=dict(class_weight=[1.0] * len(_base_.metainfo["classes"]) + [0.1]),
    ),
)

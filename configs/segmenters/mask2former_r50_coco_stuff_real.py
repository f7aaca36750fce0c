"""Mask2Former on a ResNet-50 on COCO-Stuff's real images alone."""

_base_ = ["_base_/models/mask2former_r50.py", "_base_/datasets/coco_stuff.py", "_base_/schedules/mask2former_160k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes, loss_cls=dict(class_weight=[1.0] * _base_.num_classes + [0.1])),
)

"""Mask2Former on a ResNet-50 on Cityscapes' real images alone."""

_base_ = ["_base_/models/mask2former_r50.py", "_base_/datasets/cityscapes.py", "_base_/schedules/mask2former_160k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes, loss_cls=dict(class_weight=[1.0] * _base_.num_classes + [0.1])),
)
train_cfg = dict(max_iters=int("{{$SEG_ITERS:90000}}"))

"""DeepLabV3+ on a ResNet-50 on ADE20K's real images alone."""

_base_ = ["_base_/models/deeplabv3plus_r50.py", "_base_/datasets/ade20k.py", "_base_/schedules/sgd_80k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)

"""UPerNet on ConvNeXt-T on ADE20K's real images alone."""

_base_ = ["_base_/models/upernet_convnext_tiny.py", "_base_/datasets/ade20k.py", "_base_/schedules/upernet_160k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)

"""UPerNet on ConvNeXt-T on CamVid's real images alone."""

_base_ = ["_base_/models/upernet_convnext_tiny.py", "_base_/datasets/camvid.py", "_base_/schedules/adamw_imagenet.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=len(_base_.metainfo["classes"])),
    auxiliary_head=dict(num_classes=len(_base_.metainfo["classes"])),
)

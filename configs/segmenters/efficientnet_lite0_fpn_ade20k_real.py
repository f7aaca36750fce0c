"""The light segmenter on ADE20K's real images alone."""

_base_ = ["_base_/models/efficientnet_lite0_fpn.py", "_base_/datasets/ade20k.py", "_base_/schedules/adamw_40k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
)

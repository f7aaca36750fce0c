"""SegFormer-B2 on ADE20K's real images alone."""

_base_ = ["_base_/models/segformer_b2.py", "_base_/datasets/ade20k.py", "_base_/schedules/segformer_160k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
)

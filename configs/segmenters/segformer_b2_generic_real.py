"""SegFormer-B2 on real images alone, for any data set in the generic layout."""

_base_ = ["_base_/models/segformer_b2.py", "_base_/datasets/generic.py", "_base_/schedules/adamw_segformer_imagenet.py"]
model = dict(data_preprocessor=dict(size=_base_.crop_size))

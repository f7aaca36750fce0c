"""SegFormer-B0 on real images alone, for any data set in the generic layout."""

_base_ = ["_base_/models/segformer_b0.py", "_base_/datasets/generic.py", "_base_/schedules/adamw_segformer.py"]
model = dict(data_preprocessor=dict(size=_base_.crop_size))

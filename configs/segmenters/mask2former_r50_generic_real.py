"""Mask2Former on a ResNet-50 on real images alone, for any data set in the generic layout."""

_base_ = ["_base_/models/mask2former_r50.py", "_base_/datasets/generic.py", "_base_/schedules/adamw_mask2former.py"]
model = dict(data_preprocessor=dict(size=_base_.crop_size))

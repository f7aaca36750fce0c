"""The light segmenter on real images alone, for any data set in the generic layout."""

_base_ = ["_base_/models/efficientnet_lite0_fpn.py", "_base_/datasets/generic.py", "_base_/schedules/adamw.py"]
model = dict(data_preprocessor=dict(size=_base_.crop_size))

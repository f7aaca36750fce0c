"""UPerNet on ConvNeXt-T on real images alone, for any data set in the generic layout."""

_base_ = ["_base_/models/upernet_convnext_tiny.py", "_base_/datasets/generic.py", "_base_/schedules/adamw_imagenet.py"]
model = dict(data_preprocessor=dict(size=_base_.crop_size))

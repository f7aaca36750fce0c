"""DeepLabV3+ on a ResNet-50 on real images alone, for any data set in the generic layout."""

_base_ = ["_base_/models/deeplabv3plus_r50.py", "_base_/datasets/generic.py", "_base_/schedules/adamw_imagenet.py"]
model = dict(data_preprocessor=dict(size=_base_.crop_size))

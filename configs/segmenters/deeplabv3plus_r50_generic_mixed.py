"""DeepLabV3+ on a ResNet-50 on real images and on shards, half of each batch, for any data set in the generic layout."""

_base_ = ["deeplabv3plus_r50_generic_real.py", "_base_/mixed.py"]

"""UPerNet on ConvNeXt-T on Cityscapes' real images and on shards, half of each batch."""

_base_ = ["upernet_convnext_tiny_cityscapes_real.py", "_base_/mixed.py"]

"""Mask2Former on a ResNet-50 on Cityscapes' real images and on shards, half of each batch."""

_base_ = ["mask2former_r50_cityscapes_real.py", "_base_/mixed.py"]

"""Mask2Former on a ResNet-50 on ADE20K's real images and on shards, half of each batch."""

_base_ = ["mask2former_r50_ade20k_real.py", "_base_/mixed.py"]

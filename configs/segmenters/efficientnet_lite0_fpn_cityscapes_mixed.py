"""The light segmenter on Cityscapes' real images and on shards, half of each batch."""

_base_ = ["efficientnet_lite0_fpn_cityscapes_real.py", "_base_/mixed.py"]

"""The light segmenter on ADE20K's real images and on shards, half of each batch."""

_base_ = ["efficientnet_lite0_fpn_ade20k_real.py", "_base_/mixed.py"]

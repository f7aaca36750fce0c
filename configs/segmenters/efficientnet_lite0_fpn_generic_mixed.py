"""The light segmenter on real images and on shards, half of each batch, for any data set in the generic layout."""

_base_ = ["efficientnet_lite0_fpn_generic_real.py", "_base_/mixed.py"]

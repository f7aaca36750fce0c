"""The light segmenter on COCO-Stuff's real images and on shards, half of each batch."""

_base_ = ["efficientnet_lite0_fpn_coco_stuff_real.py", "_base_/mixed.py"]

"""Mask2Former on a ResNet-50 on COCO-Stuff's real images and on shards, half of each batch."""

_base_ = ["mask2former_r50_coco_stuff_real.py", "_base_/mixed.py"]

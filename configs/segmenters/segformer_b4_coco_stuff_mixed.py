"""SegFormer-B4 on COCO-Stuff's real images and on shards, half of each batch."""

_base_ = ["segformer_b4_coco_stuff_real.py", "_base_/mixed.py"]

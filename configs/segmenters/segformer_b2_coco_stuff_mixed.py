"""SegFormer-B2 on COCO-Stuff's real images and on shards, half of each batch."""

_base_ = ["segformer_b2_coco_stuff_real.py", "_base_/mixed.py"]

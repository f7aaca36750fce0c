"""SegFormer-B2 on Cityscapes' real images and on shards, half of each batch."""

_base_ = ["segformer_b2_cityscapes_real.py", "_base_/mixed.py"]

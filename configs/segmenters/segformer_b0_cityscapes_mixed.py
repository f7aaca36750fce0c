"""SegFormer-B0 on Cityscapes' real images and on shards, half of each batch."""

_base_ = ["segformer_b0_cityscapes_real.py", "_base_/mixed.py"]

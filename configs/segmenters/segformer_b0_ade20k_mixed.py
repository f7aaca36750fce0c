"""SegFormer-B0 on ADE20K's real images and on shards, half of each batch."""

_base_ = ["segformer_b0_ade20k_real.py", "_base_/mixed.py"]

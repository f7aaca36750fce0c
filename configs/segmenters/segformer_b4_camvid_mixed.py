"""SegFormer-B4 on CamVid's real images and on shards, half of each batch."""

_base_ = ["segformer_b4_camvid_real.py", "_base_/mixed.py"]

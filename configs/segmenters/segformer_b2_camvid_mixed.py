"""SegFormer-B2 on CamVid's real images and on shards, half of each batch."""

_base_ = ["segformer_b2_camvid_real.py", "_base_/mixed.py"]

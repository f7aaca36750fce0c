"""SegFormer-B2 on real images and on shards, half of each batch, for any data set in the generic layout."""

_base_ = ["segformer_b2_generic_real.py", "_base_/mixed.py"]

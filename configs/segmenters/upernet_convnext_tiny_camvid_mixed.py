"""UPerNet on ConvNeXt-T on CamVid's real images and on shards, half of each batch."""

_base_ = ["upernet_convnext_tiny_camvid_real.py", "_base_/mixed.py"]

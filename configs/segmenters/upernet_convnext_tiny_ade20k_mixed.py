"""UPerNet on ConvNeXt-T on ADE20K's real images and on shards, half of each batch."""

_base_ = ["upernet_convnext_tiny_ade20k_real.py", "_base_/mixed.py"]

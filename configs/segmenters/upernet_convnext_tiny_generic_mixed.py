"""UPerNet on ConvNeXt-T on real images and on shards, half of each batch, for any data set in the generic layout."""

_base_ = ["upernet_convnext_tiny_generic_real.py", "_base_/mixed.py"]

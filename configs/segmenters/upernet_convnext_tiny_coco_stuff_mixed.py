"""UPerNet on ConvNeXt-T on COCO-Stuff's real images and on shards, half of each batch."""

_base_ = ["upernet_convnext_tiny_coco_stuff_real.py", "_base_/mixed.py"]

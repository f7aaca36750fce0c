"""DeepLabV3+ on a ResNet-50 on CamVid's real images and on shards, half of each batch."""

_base_ = ["deeplabv3plus_r50_camvid_real.py", "_base_/mixed.py"]

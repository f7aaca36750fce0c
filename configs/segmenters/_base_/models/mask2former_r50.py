"""Mask2Former (Cheng et al. 2022) on a ResNet-50 with ImageNet weights: the model of mmseg's config for ADE20K.

Needs the package mmdet: README.md.
"""

_base_ = [__import__("mmseg").__path__[0] + "/.mim/configs/mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py"]

model = _base_.pop("model")
_base_.clear()  # the data and the schedule

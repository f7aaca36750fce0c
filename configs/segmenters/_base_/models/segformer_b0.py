"""SegFormer-B0 (Xie et al. 2021), mmseg's own, whose encoder starts from noise: small enough to do so."""

# As `mmseg::` finds it, but under stock tools of the onedl packages too, which look for a package by another name.
_base_ = [__import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/segformer_mit-b0.py"]

# mmseg's default counts ignored pixels in the mean of the loss.
model = dict(decode_head=dict(loss_decode=dict(avg_non_ignore=True)))

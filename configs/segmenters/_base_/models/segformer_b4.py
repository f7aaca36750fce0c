"""SegFormer-B4 (Xie et al. 2021) with ImageNet weights: the model of mmseg's config for ADE20K."""

_base_ = [__import__("mmseg").__path__[0] + "/.mim/configs/segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py"]

model = _base_.pop("model")
_base_.clear()  # the data and the schedule
model.decode_head.loss_decode.avg_non_ignore = True

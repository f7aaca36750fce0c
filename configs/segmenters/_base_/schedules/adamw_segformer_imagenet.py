"""`adamw_segformer.py` at the paper's rate, for an encoder with ImageNet weights."""

_base_ = ["./adamw_segformer.py"]

optim_wrapper = dict(optimizer=dict(lr=6e-5))

"""Mask2Former's own optimizer for the length of `adamw.py`, and its validations."""

_base_ = ["./mask2former_160k.py"]

max_iters = int("{{$SEG_ITERS:600}}")
interval = min(max_iters, max(200, max_iters // 10))
train_cfg = dict(max_iters=max_iters, val_interval=interval)
default_hooks = dict(checkpoint=dict(interval=interval))

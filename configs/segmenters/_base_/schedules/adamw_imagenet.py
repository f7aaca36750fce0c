"""`adamw.py` for large encoders with ImageNet weights, which a higher rate would undo."""

_base_ = ["./adamw.py"]

optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05))

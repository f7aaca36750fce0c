"""160,000 iterations, or SEG_ITERS, with a warm-up: what mmseg's long schedules share; an optimizer comes on top.

Where the decay has no `end`, mmengine takes `train_cfg.max_iters`, which alone sets the length.
"""

_base_ = ["../runtime.py"]

max_iters = int("{{$SEG_ITERS:160000}}")
warmup = max(1, min(1500, max_iters // 10))
interval = max(1, max_iters // 10)  # of validation and checkpoints
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=warmup),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=warmup),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=interval)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(interval=interval))

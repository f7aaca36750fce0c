"""AdamW: a tenth of the iterations as warm-up, then polynomial decay to 0.

The length comes from the environment, so that the decay fits it: SEG_ITERS=20000. Setting `train_cfg.max_iters` alone
would cut the schedule off in the middle.
"""

_base_ = ["../runtime.py"]

max_iters = int("{{$SEG_ITERS:600}}")
warmup = max(1, max_iters // 10)
interval = min(max_iters, max(200, max_iters // 10))  # of validation and checkpoints
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.999), weight_decay=0.01),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(type="PolyLR", eta_min=0.0, power=0.9, by_epoch=False, begin=warmup, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=interval)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(interval=interval))

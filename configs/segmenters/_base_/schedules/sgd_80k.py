"""mmseg's schedule of DeepLabV3+: 80,000 iterations, or SEG_ITERS."""

_base_ = ["./160k.py"]

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0005))
param_scheduler = [dict(type="PolyLR", eta_min=1e-4, power=0.9, by_epoch=False, begin=0)]
train_cfg = dict(max_iters=int("{{$SEG_ITERS:80000}}"))

"""mmseg's schedule of Semantic FPN on PoolFormer: 40,000 iterations, or SEG_ITERS."""

_base_ = ["./160k.py"]

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=1e-4))
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, by_epoch=False, begin=0)]
train_cfg = dict(max_iters=int("{{$SEG_ITERS:40000}}"))

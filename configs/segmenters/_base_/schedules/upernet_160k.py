"""mmseg's schedule of UPerNet on ConvNeXt, but for the decay of the rate by stages, which mmseg has for its own encoder."""

_base_ = ["./160k.py"]

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)

"""mmseg's schedule of Mask2Former: the encoder learns ten times slower than the rest."""

_base_ = ["./160k.py"]

embedding = dict(lr_mult=1.0, decay_mult=0.0)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        custom_keys={
            "backbone": dict(lr_mult=0.1, decay_mult=1.0),
            "query_embed": embedding,
            "query_feat": embedding,
            "level_embed": embedding,
        },
        norm_decay_mult=0.0,
    ),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, by_epoch=False, begin=0)]

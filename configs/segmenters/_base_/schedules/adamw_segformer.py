"""`adamw.py` as SegFormer is trained: no decay on norms, and the head learns ten times faster than the encoder.

The rate is ten times the paper's 6e-5, which is for an encoder with ImageNet weights; here it starts from noise. With
such weights: --cfg-options optim_wrapper.optimizer.lr=6e-5 model.backbone.init_cfg.type=Pretrained
model.backbone.init_cfg.checkpoint=FILE
"""

_base_ = ["./adamw.py"]

optim_wrapper = dict(
    optimizer=dict(lr=6e-4),
    paramwise_cfg=dict(custom_keys={"norm": dict(decay_mult=0.0), "decode_head": dict(lr_mult=10.0)}),
)

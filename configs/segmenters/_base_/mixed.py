"""Shards beside the real training images of any config, stock mmseg's too: one line more in `_base_`, ahead of the others.

    _base_ = [".../configs/segmenters/_base_/mixed.py", "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py"]

SHARDS in the environment names the folder of shards, DECISIONS that of a filter, if there is one; what else there is to set: `augment/mmseg/mix.py`.
"""

# With the onedl packages mmengine finds no `mmseg::` base, under stock tools neither, unless this was imported before.
__import__("augment.mmseg")

custom_hooks = [
    dict(
        type="augment.mmseg.mix.MixSynthetic",
        shards="{{$SHARDS:runs/shards}}",
        decisions="{{$DECISIONS:none}}",
        share=0.5,
    )
]

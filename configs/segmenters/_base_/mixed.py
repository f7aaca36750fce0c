"""Shards beside the real training images of any config, stock mmseg's too: one line more in `_base_`.

    _base_ = ["./segformer_mit-b0_8xb2-160k_ade20k-512x512.py", ".../configs/segmenters/_base_/mixed.py"]

SHARDS in the environment names the folder of shards; what else there is to set: `augment/mmseg/mix.py`.
"""

custom_hooks = [dict(type="augment.mmseg.mix.MixSynthetic", shards="{{$SHARDS:runs/shards}}", share=0.5)]

"""Images painted while the segmenter trains, beside the real ones of any config, stock mmseg's too: one line more in `_base_`.

    _base_ = ["./segformer_mit-b0_8xb2-160k_ade20k-512x512.py", ".../configs/segmenters/_base_/on_the_fly.py"]

GENERATOR in the environment names the GAN's run; what else there is to set: `augment/mmseg/paint.py`.
"""

custom_hooks = [dict(type="augment.mmseg.paint.PaintSynthetic", generator="{{$GENERATOR:runs/gan}}", share=0.5)]

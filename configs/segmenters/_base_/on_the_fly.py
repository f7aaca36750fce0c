"""Images painted while the segmenter trains, beside the real ones of any config, stock mmseg's too: ahead of its `_base_`.

    _base_ = [".../configs/segmenters/_base_/on_the_fly.py", "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py"]

GENERATOR in the environment names the GAN's run, DECISIONS a filter, if there is one; what else there is to set:
`augment/mmseg/paint.py`.
"""

# With the onedl packages mmengine finds no `mmseg::` base, under stock tools neither, unless this was imported before.
__import__("augment.mmseg")

custom_hooks = [
    dict(
        type="augment.mmseg.paint.PaintSynthetic",
        generator="{{$GENERATOR:runs/gan}}",
        decisions="{{$DECISIONS:none}}",
        share=0.5,
    )
]

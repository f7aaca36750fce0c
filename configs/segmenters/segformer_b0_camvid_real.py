"""SegFormer-B0 on CamVid's real images alone.

Stock types only: mmseg's own tools run it, with nothing of this project imported.

    python tools/train_segmenter.py configs/segmenters/segformer_b0_camvid_real.py --data-root DIR --test

About 0.5 s an iteration on one CPU core (96x128, batch 8), so 5 minutes for the default 600.
The encoder starts from noise, so a score to compare wants more: SEG_ITERS=20000 SEG_HEIGHT=360 SEG_WIDTH=480 on a GPU.
"""

_base_ = [
    "_base_/datasets/camvid.py",
    "_base_/models/segformer_b0.py",
    "_base_/schedules/adamw_segformer.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=len(_base_.metainfo["classes"])),
)

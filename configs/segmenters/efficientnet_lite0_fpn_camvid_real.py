"""The light segmenter on CamVid's real images alone.

    python tools/train_segmenter.py configs/segmenters/efficientnet_lite0_fpn_camvid_real.py --data-root DIR --test

About 0.35 s an iteration on one CPU core (96x128, batch 8), so 4 minutes for the default 600.
"""

_base_ = [
    "_base_/datasets/camvid.py",
    "_base_/models/efficientnet_lite0_fpn.py",
    "_base_/schedules/adamw.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=len(_base_.metainfo["classes"])),
)

"""The light segmenter on the demo's real images alone.

    python tools/train_segmenter.py configs/segmenters/efficientnet_lite0_fpn_streets_real.py --test

About 0.35 s an iteration on one CPU core (96x128, batch 8), so 4 minutes for the default 600.
"""

_base_ = [
    "_base_/datasets/streets.py",
    "_base_/models/efficientnet_lite0_fpn.py",
    "_base_/schedules/adamw.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=len(_base_.metainfo["classes"])),
)

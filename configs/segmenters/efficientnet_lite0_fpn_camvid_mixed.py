"""The light segmenter on CamVid's real images and on shards, half of each batch; all else is as in the `_real` config.

    python tools/train_segmenter.py configs/segmenters/efficientnet_lite0_fpn_camvid_mixed.py --data-root DIR --shards DIR --test

Under other tools, SHARDS in the environment names the folder of shards.
"""

_base_ = ["efficientnet_lite0_fpn_camvid_real.py", "_base_/mixed.py"]

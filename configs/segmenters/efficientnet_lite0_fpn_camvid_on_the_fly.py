"""The light segmenter on CamVid's real images and on images painted for each batch; all else is as in the `_real` config.

    python tools/train_segmenter.py configs/segmenters/efficientnet_lite0_fpn_camvid_on_the_fly.py --data-root DIR --generator RUN --test

Under other tools, GENERATOR in the environment names the run of the GAN.
"""

_base_ = ["efficientnet_lite0_fpn_camvid_real.py", "_base_/on_the_fly.py"]

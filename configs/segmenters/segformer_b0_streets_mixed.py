"""SegFormer-B0 on the demo's real images and on shards, half of each batch; all else is as in the `_real` config.

    python tools/train_segmenter.py configs/segmenters/segformer_b0_streets_mixed.py --shards DIR --test

Under other tools, SHARDS in the environment names the folder of shards.
"""

_base_ = ["segformer_b0_streets_real.py", "_base_/mixed.py"]

"""The light segmenter on shards alone, with CamVid's classes; validation and test stay real, all else as in the `_real` config.

    python tools/train_segmenter.py configs/segmenters/efficientnet_lite0_fpn_camvid_synthetic.py --data-root DIR --shards DIR --test

Under other tools, SHARDS in the environment names the folder of shards, DECISIONS that of a filter.
"""

_base_ = ["efficientnet_lite0_fpn_camvid_real.py"]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ShardSegDataset",
        shards="{{$SHARDS:runs/camvid/shards}}",
        decisions="{{$DECISIONS:none}}",
        metainfo=_base_.metainfo,
        pipeline=_base_.train_pipeline,
    ),
)

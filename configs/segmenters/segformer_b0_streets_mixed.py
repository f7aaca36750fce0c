"""SegFormer-B0 on the demo's real images and on shards, drawn 1:1; all else is as in the `_real` config.

    python tools/train_segmenter.py configs/segmenters/segformer_b0_streets_mixed.py --shards DIR --test

Under other tools, SHARDS in the environment names the folder of shards.
"""

_base_ = ["segformer_b0_streets_real.py"]
custom_imports = dict(imports=["augment.mmseg"], allow_failed_imports=False)

train_dataloader = dict(
    sampler=dict(_delete_=True, type="RatioSampler", ratios=[1, 1]),  # real : synthetic
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            _base_.train_dataloader.dataset,
            dict(
                type="ShardSegDataset",
                shards="{{$SHARDS:runs/demo/shards}}",
                metainfo=_base_.metainfo,
                pipeline=_base_.train_pipeline,
            ),
        ],
    ),
)

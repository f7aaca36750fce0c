"""The generic layout, ROOT/{train,val,test}/{images,labels}: pipelines and loaders.

A child may name the root and the classes; else `--data-root` of our tool does, by its meta.json.

Sizes come from the environment, so that one config serves all, under any tool:

    SEG_HEIGHT=360 SEG_WIDTH=480 python tools/train_segmenter.py configs/segmenters/segformer_b0_camvid_real.py

Scores are taken at the label maps' own size, whatever the size of training.
"""

height = int("{{$SEG_HEIGHT:96}}")
width = int("{{$SEG_WIDTH:128}}")
batch_size = int("{{$SEG_BATCH:8}}")
scale = (width, height)  # to which images are resized: times 0.75 to 2 in training, exactly in testing
crop_size = (height, width)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=scale, ratio_range=(0.75, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations"),  # after Resize: predictions are brought to the label map's size
    dict(type="PackSegInputs"),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        data_prefix=dict(img_path="train/images", seg_map_path="train/labels"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BaseSegDataset",
        data_prefix=dict(img_path="val/images", seg_map_path="val/labels"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BaseSegDataset",
        data_prefix=dict(img_path="test/images", seg_map_path="test/labels"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])

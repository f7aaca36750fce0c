"""Cityscapes in 19 classes, as mmseg reads it: leftImg8bit and gtFine with its `_labelTrainIds` files.

The crops are SEG_HEIGHT x SEG_WIDTH, and the images are scaled with them; SEG_BATCH is for each GPU.
"""

_base_ = [__import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/cityscapes.py"]

data_root = "{{$CITYSCAPES_ROOT:data/cityscapes}}"
num_classes = 19
crop_size = (int("{{$SEG_HEIGHT:512}}"), int("{{$SEG_WIDTH:1024}}"))
scale = (2 * crop_size[1], crop_size[1])  # the images' own size for crops of 1024 in width

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = scale
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
train_dataloader = dict(batch_size=int("{{$SEG_BATCH:2}}"), dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

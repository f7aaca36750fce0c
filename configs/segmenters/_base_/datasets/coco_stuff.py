"""COCO-Stuff 164k in 171 classes, as mmseg reads it: images and annotations with its `_labelTrainIds` files.

The crops are SEG_HEIGHT x SEG_WIDTH, and the images are scaled with them; SEG_BATCH is for each GPU.
"""

_base_ = [__import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/coco-stuff164k.py"]

data_root = "{{$COCO_STUFF_ROOT:data/coco_stuff164k}}"
num_classes = 171
crop_size = (int("{{$SEG_HEIGHT:512}}"), int("{{$SEG_WIDTH:512}}"))
scale = (4 * crop_size[0], crop_size[0])  # the longer side at most, the shorter one

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = scale
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
train_dataloader = dict(batch_size=int("{{$SEG_BATCH:4}}"), dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

"""ADE20K in 150 classes, as mmseg reads it: the root is ADEChallengeData2016 as it unpacks.

The crops are SEG_HEIGHT x SEG_WIDTH, and the images are scaled with them; SEG_BATCH is for each GPU.
"""

_base_ = [__import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/ade20k.py"]

data_root = "{{$ADE20K_ROOT:data/ade/ADEChallengeData2016}}"
num_classes = 150
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

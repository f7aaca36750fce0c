"""SegFormer-B4 on COCO-Stuff's real images alone."""

_base_ = ["_base_/models/segformer_b4.py", "_base_/datasets/coco_stuff.py", "_base_/schedules/segformer_160k.py"]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
)
train_cfg = dict(max_iters=int("{{$SEG_ITERS:80000}}"))

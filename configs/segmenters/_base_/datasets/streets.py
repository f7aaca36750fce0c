"""The procedural street scenes of `make demo`, 8 classes."""

_base_ = ["./generic.py"]

data_root = "{{$STREETS_ROOT:runs/demo/data}}"
metainfo = dict(
    classes=("sky", "building", "road", "pavement", "tree", "car", "person", "sign"),
    palette=[
        [112, 164, 214],
        [158, 118, 98],
        [112, 82, 124],
        [226, 170, 208],
        [86, 148, 58],
        [30, 50, 170],
        [220, 34, 60],
        [246, 206, 40],
    ],
)
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))

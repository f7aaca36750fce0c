"""The procedural street scenes of `make demo`, 8 classes."""

_base_ = ["./generic.py"]

data_root = "{{$STREETS_ROOT:runs/demo/data}}"
metainfo = dict(
    classes=("sky", "building", "road", "pavement", "tree", "car", "person", "sign"),
    palette=[
        [70, 130, 180],
        [70, 70, 70],
        [128, 64, 128],
        [244, 35, 232],
        [107, 142, 35],
        [0, 0, 142],
        [220, 20, 60],
        [220, 220, 0],
    ],
)
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))

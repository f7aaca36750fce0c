"""The light segmenter on the generic layout, without a root and classes; augment/mmseg/light_config.py fills these in."""

_base_ = ["datasets/generic.py", "models/efficientnet_lite0_fpn.py", "schedules/adamw.py"]

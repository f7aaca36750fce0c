"""The files of mmseg's own data sets, looked for before a training starts: mmseg would only miss them on the way."""

from pathlib import Path

from mmengine.config import ConfigDict

from augment.mmseg.packages import bare_name

# Ends of the names of images and label maps, and the converter of mmseg that makes the latter.
_FILES = {
    "ADE20KDataset": (".jpg", ".png", ""),
    "CityscapesDataset": ("_leftImg8bit.png", "_gtFine_labelTrainIds.png", "cityscapes.py"),
    "COCOStuffDataset": (".jpg", "_labelTrainIds.png", "coco_stuff164k.py"),
}


def check_official(dataset: ConfigDict) -> None:
    """See that a data set of a known kind has images, and a label map for each.

    Raises:
        ValueError: a missing folder, no images, or images without label maps.
    """
    if bare_name(dataset.type) not in _FILES:
        return
    image_end, label_end, converter = _FILES[bare_name(dataset.type)]
    root = Path(dataset.get("data_root") or "")
    images, labels = (root / dataset.data_prefix[key] for key in ("img_path", "seg_map_path"))
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"no such folder: {folder} (--data-root names the data set's root)")
    names = names_in(images, image_end)
    if not names:
        raise ValueError(f"no image NAME{image_end} in {images}")
    unlabelled = sorted(names - names_in(labels, label_end))
    if unlabelled:
        hint = f"; mmseg's tools/dataset_converters/{converter} makes them" if converter else ""
        example = f"{unlabelled[0]}{label_end}"
        raise ValueError(f"{len(unlabelled)} images in {images} have no label map in {labels}, such as {example}{hint}")


def names_in(folder: Path, end: str) -> set[str]:
    """Of the files in a folder and those below that end so, without the end."""
    return {str(file.relative_to(folder)).removesuffix(end) for file in folder.rglob(f"*{end}")}

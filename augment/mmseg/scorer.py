"""How well a trained segmenter finds label maps in the images that were made from them: mIoU (paper A.2, Table S4)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import Tensor, nn
from tqdm import tqdm

from augment.mmseg.checkpoint import load_into
from augment.mmseg.compat import attend_without_ops
from augment.mmseg.config import datasets_of, load_config
from augment.mmseg.evaluate import scores_of_areas
from augment.mmseg.initial_weights import without_initial_weights
from augment.mmseg.packages import bare_name, require_packages
from dpsims.labels import IGNORE_INDEX, LabelSpace
from dpsims.sample import Labelled


@dataclass(frozen=True)
class Segmenter:
    """A trained mmseg model, ready for arrays, and what its ids mean in a label space.

    Attributes:
        pipeline: of the config's test set, from a BGR array on.
        classes: of the label space, C of them.
        prediction_ids: id that the model predicts → id in the label space; C for a class that the space does not have.
        label_ids: id in a label map (0..255) → the same, or 255 where the model does not know it, -1 beyond the space.
        left_out: classes of the label space that the model does not know.
    """

    model: nn.Module
    pipeline: Compose
    classes: tuple[str, ...]
    prediction_ids: Int64[Tensor, " s"]
    label_ids: Int64[Tensor, "256"]
    left_out: tuple[str, ...]


def load_segmenter(
    config: Path | str,
    checkpoint: Path | str,
    space: LabelSpace,
    *,
    device: torch.device | str = "cpu",
    options: dict | None = None,
    allow_missing: bool = False,
) -> Segmenter:
    """Build any mmseg segmenter for images with label maps of `space`. Nothing is downloaded, nothing unpickled.

    Classes are matched by their names; the order may differ, and the segmenter may know more than `space` has.

    Args:
        config: a file, or one that comes with mmseg: `mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py`.
        checkpoint: its weights, all of them; what else it holds is left out with a warning. The names of its classes
            are there, or else in the config's test set.
        options: of the config, as `--cfg-options` has them; `{"test_dataloader.dataset.pipeline.1.scale": (512, 256)}`.
        allow_missing: leave classes that the segmenter lacks, and their pixels, out of the score; else an error, as it
            is if it lacks all.

    Raises:
        ValueError: a package or a class is missing, the checkpoint does not fit or is refused, or the pipeline starts
            from something that an RGB array cannot replace.
        FileNotFoundError: no such checkpoint.
    """
    cfg = load_config(config, options=options)
    require_packages(cfg.model, str(config))
    attend_without_ops()
    register_all_modules(init_default_scope=True)
    pipeline = array_pipeline(cfg, str(config))
    model = MODELS.build(without_initial_weights(cfg.model))
    meta = load_into(model, str(checkpoint)).get("meta", {})
    names = class_names(meta, cfg)
    if len(names) != model.num_classes:
        raise ValueError(
            f"the names of the {model.num_classes} classes of {config} are neither in {checkpoint} nor in its test set "
            f"(found: {len(names)} names); the option test_dataloader.dataset.metainfo.classes gives them"
        )
    prediction_ids, label_ids, left_out = match_classes(names, space.classes)
    if left_out and not (allow_missing and len(left_out) < space.num_classes):
        raise ValueError(f"the segmenter {config} has no class {', '.join(map(repr, left_out))}; it has {shown(names)}")
    model.to(device).eval().requires_grad_(False)
    return Segmenter(model, pipeline, space.classes, prediction_ids, label_ids, left_out)


def score_images(
    segmenter: Segmenter, images: Iterable[Labelled], *, batch_size: int = 4, total: int | None = None
) -> dict:
    """Segment images, compare with their label maps, and count over the whole stream.

    A pixel for which the segmenter predicts a class that the label space does not have is a miss of its true class.

    Args:
        images: (RGB image, label map) pairs, of any sizes; predictions are brought to the label map's. Real images of
            the same label maps give the score that one of generated images is read against.
        batch_size: at most; neighbours of the same size share a batch.
        total: how many pairs there will be, for the bar.

    Returns:
        `mIoU`, `mAcc` and `aAcc` in percent, `IoU` of each class (None where neither labels nor predictions hold it,
        and the means leave it out), `images`, and `left_out`: the classes that the segmenter lacks.

    Raises:
        ValueError: there are no images, or no labelled pixels.
    """
    areas, count = torch.zeros(4, len(segmenter.classes), dtype=torch.float64), 0
    bar = tqdm(images, "segmenting", total, unit="image", leave=False, disable=None)
    for batch in batches((prepare(segmenter.pipeline, *pair) for pair in bar), batch_size):
        for prediction, item in zip(predict(segmenter, batch), batch, strict=True):
            label_map = segmenter.label_ids[item["label_map"]]
            assert (label_map >= 0).all(), f"label maps hold ids beyond the {len(segmenter.classes)} classes"
            found = IoUMetric.intersect_and_union(prediction, label_map, len(segmenter.classes), IGNORE_INDEX)
            areas += torch.stack(found)  # doubles: float32 would lose single pixels beyond 2^24
        count += len(batch)
    if not count:
        raise ValueError("there are no images to score")
    if not areas.any():
        raise ValueError(f"no pixel of the {count} label maps is of a class that the segmenter knows")
    scores = scores_of_areas(areas, segmenter.classes)
    return {**scores, "images": count, "left_out": list(segmenter.left_out)}


def predict(segmenter: Segmenter, batch: Sequence[dict]) -> list[Int64[Tensor, "_ _"]]:
    """Ids of the label space at each label map's size, on the CPU."""
    data = {key: [item[key] for item in batch] for key in ("inputs", "data_samples")}
    with torch.no_grad():
        results = segmenter.model.test_step(data)
    return [segmenter.prediction_ids[result.pred_sem_seg.data[0].long().cpu()] for result in results]


def prepare(pipeline: Compose, image: UInt8[np.ndarray, "h w 3"], label_map: UInt8[np.ndarray, "H W"]) -> dict:
    """What the model takes (`inputs`, `data_samples`), and the label map as int64."""
    packed = pipeline({"img": np.ascontiguousarray(image[..., ::-1])})  # mmseg reads images as BGR
    sample: SegDataSample = packed["data_samples"]
    sample.set_metainfo({"ori_shape": label_map.shape})  # the size to which mmseg brings the logits
    return {**packed, "label_map": torch.from_numpy(label_map.astype(np.int64))}


def batches(items: Iterable[dict], batch_size: int) -> Iterator[list[dict]]:
    """Neighbours whose `inputs` are of one size, at most `batch_size` of them."""
    batch: list[dict] = []
    for item in items:
        if batch and (len(batch) == batch_size or item["inputs"].shape != batch[0]["inputs"].shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def array_pipeline(cfg: Config, source: str) -> Compose:
    """The test set's pipeline with its reading of files taken out: it starts from `{"img": BGR array}`."""
    dataset = next(datasets_of(cfg, "test_dataloader"), {})
    loader, *steps = dataset.get("pipeline") or cfg.get("test_pipeline") or [{"type": None}]
    if bare_name(loader["type"]) not in ("LoadImageFromFile", "LoadImageFromNDArray"):
        raise ValueError(
            f"{source}: an array cannot take the place of {loader['type']}, the test pipeline's first step"
        )
    start = {"type": "LoadImageFromNDArray", "to_float32": loader.get("to_float32", False)}
    return Compose([start, *(step for step in steps if not bare_name(step["type"]).startswith("Load"))])


def class_names(meta: dict, cfg: Config) -> tuple[str, ...]:
    """The segmenter's classes by id, from its checkpoint's `meta` or else the config's test set; () if unknown."""
    stored = (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")  # mmseg 1.x, 0.x
    if stored:
        return tuple(stored)
    dataset = next(datasets_of(cfg, "test_dataloader"), None)
    if dataset is None:
        return ()
    kind = DATASETS.get(dataset.type)
    own = kind.METAINFO if kind else {}
    return tuple({**own, **dataset.get("metainfo", {})}.get("classes", ()))


def match_classes(
    segmenter: tuple[str, ...], space: tuple[str, ...]
) -> tuple[Int64[Tensor, " s"], Int64[Tensor, "256"], tuple[str, ...]]:
    """`prediction_ids`, `label_ids` and `left_out` of a `Segmenter`, from the names of its classes and the space's."""
    ids = {name: label for label, name in enumerate(space)}
    prediction_ids = torch.tensor([ids.get(name, len(space)) for name in segmenter])
    left_out = tuple(name for name in space if name not in segmenter)
    label_ids = torch.full((256,), -1)
    label_ids[: len(space)] = torch.arange(len(space))
    label_ids[[*(ids[name] for name in left_out), IGNORE_INDEX]] = IGNORE_INDEX
    return prediction_ids, label_ids, left_out


def shown(names: Sequence[str]) -> str:
    """The names, or the first of many."""
    return ", ".join(names[:20]) + (f", … ({len(names)} classes)" if len(names) > 20 else "")

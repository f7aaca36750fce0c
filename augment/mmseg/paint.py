"""Synthetic samples painted while the segmenter trains, on its own device: no shards at all.

custom_hooks = [dict(type="augment.mmseg.paint.PaintSynthetic", generator="runs/gan", share=0.5, perturb="light")]

The label maps are those of the real training data: each time one comes round, it is painted with other noise, perturbed
anew if that is asked for, and goes through the pipeline that real samples go through.
"""

import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from mmengine.dataset import Compose
from mmengine.registry import HOOKS
from torch.utils.data import Dataset

from augment.filter.rules import average, reject
from augment.filter.run import read_limits
from augment.mmseg.mix import PAINTED, Mixing
from augment.mmseg.packages import bare_name
from augment.mmseg.segmenter_filter import open_again
from augment.mmseg.shard_dataset import check_classes, decisions_folder
from augment.mmseg.unpainted import Unpainted, UnpaintedDataset
from augment.order import choose_label_maps, choose_reading, read_recipe
from augment.ordered_map import in_background
from augment.painter import Painter
from augment.perturb.pipeline import Perturbation
from augment.sources import LabelFile, LabelSource
from augment.survey import Reader, survey
from augment.synthesize import check_instances
from dpsims.hardware import use_bf16
from dpsims.labels import IGNORE_INDEX, LabelSpace
from dpsims.sample import load_generator, to_uint8

AHEAD = 2  # batches that wait for the model, at most
THREADS = 4  # that look at the label maps before the training
LOADERS = ("LoadImageFromFile", "LoadAnnotations")


@HOOKS.register_module()
class PaintSynthetic(Mixing):
    """Synthetic samples painted for the batch that they are in.

    A sample before the pipeline is a function of (generator, label map, perturbation, seed, how often the label map
    came round): neither rank nor resuming changes it. On a GPU the next batch is painted while the model is at work.

    Args:
        generator: run folder or snapshot.
        labels: folder of other label maps than the real data's, as of tools/synthesize.py --labels; a generator that
            takes instances needs one with instance maps.
        perturb: preset or file of the perturbation; None paints the label maps as they are.
        precision: "auto", "bf16" or "fp32", of the generator.
        seed: of perturbations and noise.
        decisions: folder of a filter (`tools/filter.py`), by whose scorer and limits wrong pixels are rejected here as
            well; its rules for whole samples do not apply.
        **mixing: as of `Mixing`.
    """

    endless = True

    def __init__(
        self,
        generator: str,
        labels: str | None = None,
        perturb: str | None = None,
        precision: str = "auto",
        seed: int = 0,
        decisions: str | None = None,
        **mixing: object,
    ) -> None:
        super().__init__(**mixing)
        self.decisions = decisions_folder(decisions)
        self.generator, self.labels, self.perturb = Path(generator), labels and Path(labels), perturb
        self.precision, self.seed = precision, seed

    def synthetic_part(self, real: Dataset, pipeline: list[dict], device: torch.device) -> UnpaintedDataset:
        snapshot = load_generator(self.generator, device)
        check_classes(snapshot.space.classes, real.metainfo["classes"], f"the images of {self.generator}")
        self.painter = Painter(snapshot, device, bf16=use_bf16(device, self.precision))
        self.pipeline = Compose(painted_pipeline(pipeline))

        sources, space = self.label_maps(real, snapshot.space)
        check_instances(snapshot, sources)
        size = (snapshot.height, snapshot.width)
        if self.decisions is not None:
            summary, self.limits = read_limits(self.decisions, snapshot.space)
            self.window = summary["settings"]["window"]
            self.scorer = open_again(summary, snapshot.space, size, device)
        reader = Reader(space, size, snapshot.instances, where_given=self.perturb is not None)
        return UnpaintedDataset(sources, reader, self.perturbation(sources, reader), seed=self.seed)

    def label_maps(self, real: Dataset, space: LabelSpace) -> tuple[list[LabelSource], LabelSpace]:
        """Those to paint, and the generator's label space with the numbering of their files."""
        if self.labels is None:
            return real_label_maps(real), replace(space, raw_to_id=raw_to_id(real, space.num_classes))
        place, sources = choose_label_maps(
            self.labels, None, None, self.generator, (), objects=self.perturb is not None
        )
        return sources, choose_reading(None, place, sources, self.generator, space).space

    def perturbation(self, sources: list[LabelSource], reader: Reader) -> Perturbation | None:
        if self.perturb is None:
            return None
        recipe = read_recipe(self.perturb, reader.space)
        return survey(sources, reader, recipe, threads=THREADS, progress=True).perturbation(recipe, reader)

    def finished(self, batches: Iterator) -> Iterator:
        painted = map(self.paint, batches)
        # a CPU's cores are busy: a thread more would be in the way of the model's
        return in_background(painted, AHEAD) if self.painter.device.type == "cuda" else painted

    def paint(self, batch: dict) -> dict:
        """The batch with its images."""
        places = [place for place, sample in enumerate(batch["inputs"]) if isinstance(sample, Unpainted)]
        if places:
            samples = [batch["inputs"][place] for place in places]
            images = self.images(samples)
            for place, sample, image in zip(places, self.filtered(samples, images), images, strict=True):
                packed = self.pipeline(loaded(sample, image))
                for key, values in batch.items():
                    values[place] = packed[key]
        return batch

    @torch.inference_mode()
    def images(self, samples: list[Unpainted]) -> UInt8[np.ndarray, "n h w 3"]:
        """RGB, of the samples in their order."""
        conditioning = self.painter.encode([it.label_map for it in samples], [it.offsets for it in samples])
        images = self.painter.decode(conditioning, [1] * len(samples), [sample.seed for sample in samples])
        if not images.isfinite().all():
            raise ValueError(
                f"{self.generator}: the generator's output is not finite, for one of {len(samples)} images"
            )
        return to_uint8(images).cpu().numpy()

    def filtered(self, samples: list[Unpainted], images: UInt8[np.ndarray, "n h w 3"]) -> list[Unpainted]:
        """The samples without the pixels that do not show what their label maps say."""
        if self.decisions is None:
            return samples
        losses, _ = self.scorer.score(list(images), [sample.label_map for sample in samples])
        found = []
        for sample, loss in zip(samples, losses, strict=True):
            averaged = average(loss, sample.label_map, self.window)
            found.append(replace(sample, label_map=reject(averaged, sample.label_map, self.limits)))
        return found


def loaded(sample: Unpainted, image: UInt8[np.ndarray, "h w 3"]) -> dict:
    """What mmseg's loading makes of a pair of files: BGR, and ids that are shifted already."""
    name, size = f"{PAINTED}://{sample.name}", image.shape[:2]
    return {
        "img_path": name,
        "seg_map_path": name,
        "img": np.ascontiguousarray(image[..., ::-1]),
        "img_shape": size,
        "ori_shape": size,
        "gt_seg_map": sample.label_map.copy(),
        "seg_fields": ["gt_seg_map"],
        "label_map": None,
        "reduce_zero_label": False,
    }


def painted_pipeline(pipeline: list[dict]) -> list[dict]:
    """The steps after loading."""
    names = [bare_name(step["type"]) for step in pipeline]
    if tuple(names[:2]) != LOADERS:
        raise ValueError(f"a pipeline begins with {' and '.join(LOADERS)} to paint for it, not with {names[:2]}")
    return deepcopy(list(pipeline[2:]))


def real_label_maps(real: Dataset) -> list[LabelFile]:
    """Those of an mmseg data set, each once."""
    files = dict.fromkeys(Path(real.get_data_info(index)["seg_map_path"]) for index in range(len(real)))
    folder = Path(os.path.commonpath([file.parent for file in files]))
    return [LabelFile(file.relative_to(folder).with_suffix("").as_posix(), None, file) for file in files]


def raw_to_id(real: Dataset, num_classes: int) -> dict[int, int] | None:
    """How an mmseg data set reads the ids of its files; None where they are the classes' own."""
    info = real.get_data_info(0)
    reduced, class_remap = info["reduce_zero_label"], info["label_map"] or {}
    if not reduced and not class_remap:
        return None
    ids = {raw: IGNORE_INDEX if reduced and raw in (0, IGNORE_INDEX) else raw - bool(reduced) for raw in range(256)}
    ids = {raw: class_remap.get(label, label) for raw, label in ids.items()}
    return {raw: label for raw, label in ids.items() if label < num_classes or label == IGNORE_INDEX}

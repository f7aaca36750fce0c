"""A trained segmenter as a filter's scorer: the cross-entropy of each pixel's class (FreeMask, Yang et al. 2023)."""

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from mmengine.runner import find_latest_checkpoint
from mmseg.models.decode_heads import SideAdapterCLIPHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from augment.filter.scorer import DiscriminatorScorer, Images, LabelMaps, Scorer
from augment.mmseg.config import datasets_of, load_config
from augment.mmseg.scorer import load_segmenter, prepare
from augment.shards import differences
from dpsims.labels import IGNORE_INDEX, LabelSpace
from dpsims.sample import file_sha256


class SegmenterScorer:
    """Any mmseg segmenter.

    Args:
        config: a file, or `mmseg::PATH`.
        checkpoint: its weights, or its work dir: the best ones there.
        options: of the config, as `--cfg-options` has them.

    Raises:
        ValueError: as of `load_segmenter`, or its head gives a single channel, which tells two classes by a threshold.
    """

    def __init__(
        self, config: str, checkpoint: Path, space: LabelSpace, device: torch.device, options: dict | None = None
    ) -> None:
        self.config, self.checkpoint, self.options = config, find_checkpoint(checkpoint), options or {}
        segmenter = load_segmenter(config, self.checkpoint, space, device=device, options=self.options)
        head = decode_head(segmenter.model)
        if segmenter.model.out_channels == 1:
            raise ValueError(
                f"{type(head).__name__} gives one channel for two classes, which has no cross-entropy here"
            )
        self.segmenter = segmenter
        self.sums_masks = sums_masks(head)
        known = segmenter.prediction_ids < len(segmenter.classes)
        ids = torch.full((256,), IGNORE_INDEX)
        ids[segmenter.prediction_ids[known]] = torch.arange(len(segmenter.prediction_ids))[known]
        self.model_ids = ids  # of the label space → of the model

    def describe(self) -> dict:
        model = type(decode_head(self.segmenter.model)).__name__
        cfg = load_config(self.config, options=self.options)
        sees = [cfg.model, next(datasets_of(cfg, "test_dataloader"), {}).get("pipeline"), cfg.get("test_pipeline")]
        config_sha256 = hashlib.sha256(repr(sees).encode()).hexdigest()
        weights = file_sha256(self.checkpoint)
        return {"scorer": "segmenter", "sha256": weights, "config_sha256": config_sha256, "head": model}

    def origin(self) -> dict:
        config = str(Path(self.config).absolute()) if Path(self.config).is_file() else self.config
        return {"config": config, "checkpoint": str(self.checkpoint.absolute()), "options": self.options}

    def score(self, images: Images, label_maps: LabelMaps) -> tuple[Float32[np.ndarray, "n h w"], None]:
        batch = [prepare(self.segmenter.pipeline, *pair) for pair in zip(images, label_maps, strict=True)]
        data = {key: [item[key] for item in batch] for key in ("inputs", "data_samples")}
        with torch.no_grad():
            results = self.segmenter.model.test_step(data)
            pairs = zip(results, batch, strict=True)
            losses = [self.losses(result.seg_logits.data, item["label_map"]) for result, item in pairs]
        return np.stack(losses), None

    def losses(self, logits: Tensor, label_map: Tensor) -> Float32[np.ndarray, "h w"]:
        """(S, H, W) and (H, W) → the loss of each pixel."""
        target = self.model_ids[label_map].to(logits.device)
        if self.sums_masks:  # shares of their sum stand for a softmax
            logits = (logits / logits.sum(dim=0).clamp(min=1e-8)).clamp(min=1e-8).log()
        loss = F.cross_entropy(logits[None].float(), target[None], ignore_index=IGNORE_INDEX, reduction="none")
        return loss[0].cpu().numpy()


def decode_head(model: nn.Module) -> nn.Module:
    """That which makes the logits: the last one of a cascade."""
    head = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def sums_masks(head: nn.Module) -> bool:
    """Whether it classifies masks (Mask2Former, SAN): a class's score is a sum of probabilities, and no logit."""
    return not isinstance(head, BaseDecodeHead) or isinstance(head, SideAdapterCLIPHead)


def find_checkpoint(place: Path) -> Path:
    """A file, or of a work dir the best checkpoint, or else the latest.

    Raises:
        ValueError: there is none.
    """
    if place.is_file():
        return place
    best = sorted(place.glob("best_*.pth"), key=lambda file: file.stat().st_mtime)
    latest = find_latest_checkpoint(str(place)) if (place / "last_checkpoint").is_file() else None
    if not best and latest is None:
        raise ValueError(f"--checkpoint {place} is neither a file nor a work dir with checkpoints")
    return best[-1] if best else Path(latest)


def open_again(summary: dict, space: LabelSpace, size: tuple[int, int], device: torch.device) -> Scorer:
    """The scorer of a finished filter, of which this is `filter.json`.

    Raises:
        ValueError: another one lies in its place now, whose losses the limits are not of.
    """
    origin = summary["origin"]
    if "run" in origin:
        scorer: Scorer = DiscriminatorScorer(Path(origin["run"]), space, size, device)
    else:
        scorer = SegmenterScorer(origin["config"], Path(origin["checkpoint"]), space, device, origin["options"])
    described = scorer.describe()
    changed = differences({key: summary["settings"].get(key) for key in described}, described)
    if changed:
        place = origin.get("run") or origin["checkpoint"]
        raise ValueError(f"{place} is not what the filter has looked with ({'; '.join(changed)}); filter anew")
    return scorer


def find_config(work_dir: Path) -> Path:
    """The config that a training left in its work dir, with all that was set for it.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = sorted(work_dir.glob("*.py"))
    if len(found) != 1:
        raise ValueError(f"--config is needed: {work_dir} holds {len(found)} configs, a segmenter's work dir holds one")
    return found[0]

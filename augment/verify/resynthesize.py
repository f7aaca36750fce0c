"""Make some of the samples in shards once more, from their label maps and seeds, and compare."""

import io
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from augment.factory import BAD_LABEL, Factory, PreparedMap, Settings
from augment.ordered_map import thread_pool
from augment.perturb.scene import Scene
from augment.plan import Plan
from augment.record import Record
from augment.shards import OK, committed_shards, read_manifest, read_member, read_rows, shard_file
from augment.sources import ShardedLabel
from augment.storage import Folder
from augment.verify.finding import Finding
from augment.verify.sample import image_extension, row_error
from dpsims.labels import UNREADABLE, LabelSpace, read_label_map
from dpsims.sample import Snapshot


@dataclass
class Resynthesis:
    """How the samples that were made once more compare.

    Attributes:
        compared: how many.
        bit_equal: those of them whose image files are the same bytes.
        worst: largest mean absolute difference of an image, in grey levels of 255, and the sample's key.
        findings: samples that differ by more than the tolerance, or could not be compared.
    """

    compared: int = 0
    bit_equal: int = 0
    worst: tuple[float, str] = (0.0, "")
    findings: list[Finding] = field(default_factory=list)


def check_generator(folder: Folder, snapshot: Snapshot) -> Settings:
    """See that a generator can make the samples of these shards; returns how they were made.

    Raises:
        ValueError: it takes instances, or its classes or its size are others.
    """
    manifest = read_manifest(folder)
    if snapshot.instances:
        raise ValueError(
            "--resynthesize: the generator takes instances, and shards hold no instance maps; its samples can only be "
            "made again from the data set, by the command that made the shards"
        )
    try:
        plan, space = manifest["plan"], LabelSpace.from_meta(manifest["label_space"], source=f"{folder}/shards.json")
        size, settings = (plan["height"], plan["width"]), (plan["image_format"], plan["quality"], plan["bf16"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"--resynthesize: {folder}/shards.json does not say how they were made: {error}") from None
    for name, of_shards, of_generator in (
        ("classes", space.classes, snapshot.space.classes),
        ("height x width", size, (snapshot.height, snapshot.width)),
    ):
        if of_shards != of_generator:
            raise ValueError(
                f"--resynthesize: {name} of the shards: {reprlib.repr(of_shards)}, "
                f"of the generator: {reprlib.repr(of_generator)}"
            )
    return Settings(*settings)


def resynthesize(
    folder: Folder,
    snapshot: Snapshot,
    settings: Settings,
    *,
    per_shard: int,
    tolerance: float,
    seed: int,
    device: torch.device,
    batch_size: int,
    threads: int,
    progress: bool = False,
) -> Resynthesis:
    """Make random samples of every shard again, in the batches that they were made in.

    Args:
        settings: by `check_generator`.
        per_shard: samples of each shard, at most; shards with broken rows are left out.
        tolerance: mean absolute difference of an image that is no fault, in grey levels of 255.
        seed: of the choice.
        batch_size: that of the run, if the images are to be the same bits.
        progress: show a bar, on a terminal.
    """
    result, factory = Resynthesis(), None
    shards = committed_shards(folder)
    with (
        thread_pool(threads) as pool,
        tqdm(total=len(shards), desc="resynthesis", unit="shard", disable=None if progress else True) as bar,
    ):
        for shard in shards:
            rows = usable_rows(folder, shard)
            good = [row for row in rows if row["status"] == OK]
            order = np.random.default_rng((seed, shard)).permutation(len(good))
            chosen = {good[i]["key"]: good[i] for i in order[:per_shard]}
            if chosen:
                if factory is None:
                    factory = Factory(snapshot, plan_of(folder, chosen), settings, device, batch_size, pool)
                for key, content in remake(factory, folder, rows, chosen, result):
                    compare(result, folder, chosen[key], content, tolerance)
            bar.update()
    return result


def usable_rows(folder: Folder, shard: int) -> list[dict]:
    """The rows of a shard; none if one of them is broken, for then no batch is what it was, or if there is no tar."""
    if not shard_file(folder, shard, "tar").exists():
        return []
    try:
        rows = read_rows(folder, shard)
    except (ValueError, OSError):
        return []
    if any(row_error(row) for row in rows):
        return []
    whole = all(row["status"] != OK or ("seg.png" in row["members"] and image_extension(row)) for row in rows)
    return rows if whole else []


def plan_of(folder: Folder, rows: dict[str, dict]) -> Plan:
    """A factory wants a plan. That of some samples will do: it is not asked for the batches of shards."""
    sources = [ShardedLabel(row["source_key"], row["split"], folder, row) for row in rows.values()]
    return Plan(sources, [1] * len(sources), shard_size=len(sources), seed=0)


def remake(
    factory: Factory, folder: Folder, rows: Sequence[dict], chosen: dict[str, dict], result: Resynthesis
) -> Iterator[tuple[str, bytes]]:
    """Keys and image files of the chosen samples.

    Kernels round differently for other batches. So the factory is given what it had in a batch with a chosen sample.
    """
    for group in factory.groups(outlines(rows)):
        of_group = {record.key for source in group for record in source.records}
        if not of_group & chosen.keys():
            continue
        good = {row["key"]: row for row in rows if row["key"] in of_group and row["status"] == OK}
        maps = [fill(factory, folder, source, chosen | good) for source in group]  # rows of the chosen come first
        for batch in factory.launch(maps):
            for made in batch.made():
                key = made.record.key
                if key in chosen:
                    sample = factory.encode(made)
                    if sample.status == OK:
                        yield key, sample.members[factory.settings.image_format]
                    else:
                        message = f"it cannot be made again: {sample.error}"
                        result.findings.append(Finding(made.record.shard, key, "resynthesis", message))


def outlines(rows: Sequence[dict]) -> Iterator[PreparedMap]:
    """The label maps of a shard without their content, in the order in which the factory had them."""
    names = ("key", "shard", "source_key", "split", "sample_index", "seed", "variant")

    def map_of(row: dict) -> tuple:  # one that cannot be read has no variants
        return row["source_key"], row["error"] if row["status"] == BAD_LABEL else row["variant"]

    for _, group in groupby(rows, key=map_of):
        members = list(group)
        bad = members[0]["error"] if members[0]["status"] == BAD_LABEL else None
        yield PreparedMap([Record(**{name: row[name] for name in names}) for row in members], error=bad)


def fill(factory: Factory, folder: Folder, outline: PreparedMap, good: dict[str, dict]) -> PreparedMap:
    """With the label map that the first of its samples among `good` has in the shards."""
    keys = {record.key for record in outline.records}
    row = next((row for key, row in good.items() if key in keys), None)
    if outline.error is not None or row is None:
        return PreparedMap(outline.records, error=outline.error or "none of its samples has a label map")
    try:
        label_map = read_label_map(read_member(folder, row, "seg.png"), factory.snapshot.space, source=row["key"])
    except ValueError as error:
        return PreparedMap(outline.records, error=str(error))
    return factory.vary(outline.records, Scene(label_map))


def compare(result: Resynthesis, folder: Folder, row: dict, content: bytes, tolerance: float) -> None:
    key = row["key"]

    def fault(message: str) -> None:
        result.findings.append(Finding(row["shard"], key, "resynthesis", message))

    stored = read_member(folder, row, image_extension(row))
    result.compared += 1
    if stored == content:
        result.bit_equal += 1
        return
    try:
        images = [np.array(Image.open(io.BytesIO(file)).convert("RGB"), np.float32) for file in (stored, content)]
    except UNREADABLE as error:
        fault(f"it cannot be compared: {error}")
        return
    if images[0].shape != images[1].shape:
        fault("it cannot be compared: the sizes differ")
        return
    difference = float(np.abs(images[0] - images[1]).mean())
    result.worst = max(result.worst, (difference, key))
    if difference > tolerance:
        fault(f"made again, it differs by {difference:.2f} grey levels in the mean; --tolerance is {tolerance:g}")

"""Mass production: the shards of a plan that a folder lacks, in one process or as one part of several."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import torch
from tqdm import tqdm

from augment.factory import Factory, Settings
from augment.ordered_map import thread_pool
from augment.perturb.pipeline import Perturbation
from augment.plan import Plan
from augment.shards import (
    OK,
    Sample,
    committed_shards,
    first_failure,
    open_manifest,
    read_stats,
    total_of,
    write_manifest,
    write_shard,
)
from augment.sources import LabelSource
from augment.storage import Folder, is_local, sweep
from dpsims.sample import Snapshot


@dataclass(frozen=True)
class Part:
    """Which shards a process makes: every `count`-th one from the `index`-th on."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"part {self.index} of {self.count}: parts are numbered from 0")

    def shards(self, plan: Plan) -> range:
        return range(self.index, plan.num_shards, self.count)


def find_part(text: str | None) -> Part:
    """Of --part I/N, or of the rank under torchrun."""
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if text is None:
        return Part(rank, ranks)
    index, _, count = text.partition("/")
    if not index.isdecimal() or not count.isdecimal() or not int(index) < int(count):
        raise ValueError(f"--part {text} is to be I/N, such as 0/4 for the first of four")
    return Part(int(index) * ranks + rank, int(count) * ranks)


def synthesize(
    snapshot: Snapshot,
    plan: Plan,
    folder: Folder,
    settings: Settings,
    *,
    device: torch.device | str,
    batch_size: int,
    threads: int,
    perturbation: Perturbation | None = None,
    part: Part = Part(),
    progress: bool = False,
) -> dict | None:
    """Make all shards of a part that `folder` lacks.

    Args:
        device: where the snapshot's generator is.
        batch_size: images per pass of the generator, at most.
        threads: that read label maps and encode images.
        perturbation: of the label maps.
        progress: show a bar, on a terminal.

    Returns:
        The totals over all shards, as in `shards.json`; None while those of other parts are missing.

    Raises:
        ValueError: if `folder` holds shards of another plan, or if no sample could be made.
    """
    check_instances(snapshot, plan.sources)
    if batch_size < 1 or threads < 1:
        raise ValueError(f"--batch-size and --threads are at least 1, not {batch_size} and {threads}")
    description = describe(snapshot, plan, settings, perturbation)
    open_manifest(folder, description)
    sweep(folder)
    finished = set(committed_shards(folder))
    shards = part.shards(plan)
    total = sum(plan.samples_of(shard) for shard in shards)
    done = sum(plan.samples_of(shard) for shard in shards if shard in finished)
    bar = tqdm(total=total, initial=done, unit="img", disable=None if progress else True)
    with thread_pool(threads) as pool, bar:
        factory = Factory(snapshot, plan, settings, torch.device(device), batch_size, pool, perturbation)
        missing = [shard for shard in shards if shard not in finished]
        made = len(shards) - len(missing)
        bar.set_description(f"{made}/{len(shards)} shards")
        samples = counted(factory.make(missing), bar)
        for number, (shard, of_shard) in enumerate(groupby(samples, key=lambda sample: sample.record.shard), start=1):
            commit_shard(folder, shard, of_shard, snapshot)
            bar.set_description(f"{made + number}/{len(shards)} shards")
    return finish(folder, plan, description)


def commit_shard(folder: Folder, shard: int, samples: Iterable[Sample], snapshot: Snapshot) -> dict:
    """Write a shard; returns its stats."""
    try:
        return write_shard(folder, shard, samples, snapshot.space.num_classes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = f"{folder}" if is_local(folder) else f"{tempfile.gettempdir()}, where files wait for their upload,"
            raise OSError(
                error.errno, f"{full} is full; finished shards stay, and once there is room the same command goes on"
            ) from error
        raise


def counted(samples: Iterable[Sample], bar: tqdm) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        bar.update()


def finish(folder: Folder, plan: Plan, description: dict) -> dict | None:
    """Once all shards are there, write the totals and return them; None before.

    Raises:
        ValueError: no sample could be made.
    """
    finished = committed_shards(folder)
    if len(finished) < plan.num_shards:
        return None
    totals = total_of(read_stats(folder, shard) for shard in finished)
    write_manifest(folder, description, totals)
    if not totals["by_status"].get(OK):
        raise ValueError(
            f"none of the {totals['planned']} samples could be made; the first: {first_failure(folder)['error']}. "
            f"Once that is mended, delete {folder} and run again"
        )
    return totals


def check_instances(snapshot: Snapshot, sources: Sequence[LabelSource]) -> None:
    """See that label maps have instances if the generator takes them."""
    lacking = [source for source in sources if snapshot.instances and not source.has_instances()]
    if lacking:
        raise ValueError(
            f"the generator takes instances, which {len(lacking)} of {len(sources)} label maps lack, such as "
            f"{lacking[0].place}; --labels is to be a split folder with labels/ and instances/, or a data set's root "
            "with --split"
        )


def describe(snapshot: Snapshot, plan: Plan, settings: Settings, perturbation: Perturbation | None = None) -> dict:
    """All that decides the bytes of the shards, as `shards.json` holds it."""
    raw_to_id = settings.raw_to_id and " ".join(f"{raw}:{label}" for raw, label in sorted(settings.raw_to_id.items()))
    alike = len(set(plan.counts)) == 1
    decided = {
        "images": len(plan),
        "label_maps": len(plan.sources),
        "label_names_sha256": digest([(source.source_key, source.split) for source in plan.sources]),
        "samples_per_map": plan.counts[0] if alike else f"sha256:{digest(list(plan.counts))}",
        "shard_size": plan.shard_size,
        "seed": plan.seed,
        **asdict(settings),
        "raw_to_id": raw_to_id,
        "perturbation": perturbation and describe_perturbation(plan, perturbation),
        "height": snapshot.height,
        "width": snapshot.width,
    }
    return {"label_space": snapshot.space.to_meta(), "generator_sha256": snapshot.sha256, "plan": decided}


def describe_perturbation(plan: Plan, perturbation: Perturbation) -> dict:
    """The recipe, and what the label maps are like that it goes by and takes from."""
    statistics = perturbation.context.statistics.digest
    return {"variants": plan.variants, **perturbation.recipe.to_dict(), "statistics_sha256": statistics}


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()

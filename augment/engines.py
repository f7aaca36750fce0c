"""Who makes the shards: this process, or several of this machine. All write the same bytes, whoever is killed."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

import torch
import torch.multiprocessing as mp
from tqdm import tqdm

from augment.factory import Factory, Settings, reader_of
from augment.perturb.pipeline import Perturbation
from augment.perturb.recipe import Recipe
from augment.plan import Plan
from augment.shards import committed_shards
from augment.storage import open_folder
from augment.survey import Survey
from augment.synthesize import Part, synthesize
from dpsims.sample import Snapshot, load_generator
from dpsims.stop import stop_by_terminate

POLL = 1.0  # seconds between looks at what other processes have finished


@dataclass(frozen=True)
class Work:
    """All that a process of its own needs to make shards of a plan.

    Attributes:
        generator: run folder or snapshot.
        folder: path or URL of the shards.
        batch_size, threads: as of `synthesize`, of each process.
        recipe, found: of the perturbation, and the label maps that it takes from.
    """

    generator: Path
    plan: Plan
    folder: str
    settings: Settings
    batch_size: int
    threads: int
    recipe: Recipe | None = None
    found: Survey | None = None

    def perturbation(self, snapshot: Snapshot) -> Perturbation | None:
        if self.recipe is None:
            return None
        return self.found.perturbation(self.recipe, reader_of(snapshot, self.settings, perturbed=True))

    def factory(
        self, snapshot: Snapshot, device: torch.device, pool: ThreadPoolExecutor, perturbation: Perturbation | None
    ) -> Factory:
        return Factory(snapshot, self.plan, self.settings, device, self.batch_size, pool, perturbation)

    def make(
        self,
        part: Part,
        snapshot: Snapshot,
        device: torch.device,
        perturbation: Perturbation | None,
        *,
        progress: bool = False,
    ) -> dict | None:
        """Make a part of the shards in this process."""
        return synthesize(
            snapshot,
            self.plan,
            open_folder(self.folder),
            self.settings,
            device=device,
            batch_size=self.batch_size,
            threads=self.threads,
            perturbation=perturbation,
            part=part,
            progress=progress,
        )


def make_in_processes(work: Work, devices: Sequence[str], part: Part) -> None:
    """One process for each device name, each making its share of the part's shards; a bar over all of them.

    Raises:
        ValueError: a process failed; its message stands above.
    """
    folder, shards = open_folder(work.folder), part.shards(work.plan)
    done = set(committed_shards(folder))
    total = sum(work.plan.samples_of(shard) for shard in shards)
    initial = sum(work.plan.samples_of(shard) for shard in shards if shard in done)
    context = mp.get_context("spawn")
    workers = []
    try:
        for index, device in enumerate(devices):
            share = Part(part.index + index * part.count, part.count * len(devices))
            workers.append(context.Process(target=_work, args=(work, share, device, len(devices)), daemon=True))
            workers[-1].start()
        with tqdm(total=total, initial=initial, unit="img", disable=None) as bar:
            while any(worker.is_alive() for worker in workers):
                _look(work, shards, done, bar)
                if any(worker.exitcode for worker in workers):
                    break
                connection.wait([worker.sentinel for worker in workers if worker.exitcode is None], POLL)
            _look(work, shards, done, bar)
    finally:
        failed = [worker.exitcode for worker in workers if worker.exitcode]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
    if failed:
        raise ValueError(f"{len(failed)} of {len(devices)} workers failed, with exit status {failed[0]}")


def _look(work: Work, shards: range, done: set[int], bar: tqdm) -> None:
    """Move the bar by the shards that have been committed since the last look."""
    for shard in set(committed_shards(open_folder(work.folder))) - done:
        done.add(shard)
        if shard in shards:
            bar.update(work.plan.samples_of(shard))
    bar.set_description(f"{len(done & set(shards))}/{len(shards)} shards")


def _work(work: Work, part: Part, device: str, workers: int) -> None:
    """What a process does: quiet but for its errors."""
    stop_by_terminate()
    if device == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    try:
        snapshot = load_generator(work.generator, device)
        work.make(part, snapshot, torch.device(device), work.perturbation(snapshot))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, torch.OutOfMemoryError) as error:
        print(f"error in worker {part.index}: {error}", file=sys.stderr)
        sys.exit(2)


def worker_devices(device: torch.device, workers: int) -> list[str]:
    """A device for each worker: the CUDA devices in turn, or the CPU for all."""
    if device.type == "cpu":
        return ["cpu"] * workers
    return [f"cuda:{index % torch.cuda.device_count()}" for index in range(workers)]

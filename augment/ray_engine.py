"""Shards by Ray: a pool of actors with a generator each, on this machine or a cluster; what dies is started again."""

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import torch
from tqdm import tqdm

from augment.engines import Work
from augment.shards import committed_shards
from augment.storage import open_folder
from augment.synthesize import Part, commit_shard
from dpsims.sample import load_generator

RETRIES = 3  # of an actor, and of a shard
STORE_BYTES = 200 * 2**20  # of Ray's object store on a machine of one's own: shards do not go through it


class ShardMaker:
    """The actor: makes one shard after the other."""

    def __init__(self, work: Work, device: str) -> None:
        snapshot, pool = load_generator(work.generator, device), ThreadPoolExecutor(work.threads)
        self.factory = work.factory(snapshot, torch.device(device), pool, work.perturbation(snapshot))
        self.folder = open_folder(work.folder)

    def make(self, shard: int) -> int:
        commit_shard(self.folder, shard, self.factory.make([shard]), self.factory.snapshot)
        return shard


def import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise ValueError("--ray needs Ray: pip install -c constraints.txt -e '.[ray]'") from error
    return ray


def cluster_device(address: str) -> torch.device:
    """CUDA if the cluster has GPUs, else the CPU."""
    ray = import_ray()
    ray.init(address=address)
    try:
        return torch.device("cuda" if ray.cluster_resources().get("GPU") else "cpu")
    finally:
        ray.shutdown()


def make_by_ray(work: Work, part: Part, *, address: str | None, workers: int | None, device: torch.device) -> None:
    """Make what a part of the shards lacks.

    Args:
        address: of a cluster, as of `ray.init`; None starts Ray on this machine for the time that it takes.
        workers: actors; None is one for each GPU that Ray has, or one on a CPU.
        device: of what kind; the actors get their GPUs from Ray.

    Raises:
        ValueError: Ray is not installed, has no GPU where one is asked for, or an actor failed with a user's error.
    """
    ray = import_ray()
    from ray.util import ActorPool

    here = {"address": "local", "object_store_memory": STORE_BYTES, "include_dashboard": False}
    ray.init(**({"address": address} if address else here), log_to_driver=True)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0)) if device.type == "cuda" else 0
        if device.type == "cuda" and not gpus:
            raise ValueError("--device cuda: Ray has no GPU")
        workers = workers or max(1, gpus)
        need = {"num_gpus": gpus / workers if workers > gpus else 1} if gpus else {}
        maker = ray.remote(ShardMaker).options(
            num_cpus=1 if address else 0, max_restarts=RETRIES, max_task_retries=RETRIES, **need
        )
        work_id = ray.put(work)
        pool = ActorPool([maker.remote(work_id, device.type) for _ in range(workers)])
        done = set(committed_shards(open_folder(work.folder)))
        shards = part.shards(work.plan)
        total = sum(work.plan.samples_of(shard) for shard in shards)
        missing = [shard for shard in shards if shard not in done]
        initial = total - sum(work.plan.samples_of(shard) for shard in missing)
        with tqdm(total=total, initial=initial, unit="img", desc="shards by Ray", disable=None) as bar:
            for shard in pool.map_unordered(lambda actor, shard: actor.make.remote(shard), missing):
                bar.update(work.plan.samples_of(shard))
    except ray.exceptions.RayTaskError as error:
        raise ValueError(f"a Ray worker failed: {error.cause}") from error
    except ray.exceptions.ActorDiedError as error:
        raise ValueError(f"a Ray worker died {RETRIES + 1} times: {error}") from error
    finally:
        ray.shutdown()

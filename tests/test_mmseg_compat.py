"""What both OpenMMLab families do alike by our doing."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop
from mmseg.datasets import BaseSegDataset
from mmseg.utils import register_all_modules
from mmseg_data import write_data_set, write_shards
from mmseg_run import Watch, streets_space, train
from torch.utils.data import DataLoader

from augment.mmseg.compat import Forwarded, mmdet_install, skip_by_index
from augment.mmseg.runner import BriefRunner

# The project has no metadata, as where it is on PYTHONPATH alone.
NOT_INSTALLED = """
from importlib import metadata
known = metadata.distribution
def distribution(name):
    if name == "dpsims-augment":
        raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.distribution = distribution
import augment.mmseg
from mmseg.models import SegformerHead
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    register_all_modules(init_default_scope=True)
    root, space = tmp_path_factory.mktemp("data"), streets_space()
    write_shards(root / "shards", space)
    return write_data_set(root / "data", space), root / "shards"


@pytest.mark.parametrize(("kind", "workers"), [("real", 0), ("real", 2), ("synthetic", 0)])
def test_a_run_on_one_kind_of_data_goes_on_without_a_look_at_the_past(kind, workers, data, tmp_path, monkeypatch):
    """Counted in samples that are read, where that is in this process: those of the iterations that are left."""
    config, places = f"efficientnet_lite0_fpn_streets_{kind}.py", {"shards": data[1]} if kind == "synthetic" else {}

    def go(out: str, **options: int) -> Watch:
        of = {"places": places, "workers": workers, "kind": BriefRunner}
        return train(config, data[0], tmp_path / out, iterations=6, **of, **options)

    whole, first = go("whole"), go("stopped", stop=3)
    read, looked_at = BaseSegDataset.__getitem__, []
    monkeypatch.setattr(BaseSegDataset, "__getitem__", lambda self, i: looked_at.append(i) or read(self, i))
    rest = go("stopped")
    assert first.batches + rest.batches == whole.batches and len(rest.batches) == 3
    assert len(looked_at) == (0 if workers else 3 * 4)


class Resumed(IterBasedTrainLoop):
    """A loop that is at an iteration, of a run that is not there."""

    def __init__(self, loader: DataLoader, iteration: int) -> None:
        self.dataloader, self._iter = loader, iteration
        self.dataloader_iterator = iter(loader)


@pytest.mark.parametrize("iteration", [100, 100_000])
def test_to_go_on_reads_nothing_at_any_iteration(iteration):
    """Upstream's loop asks for each batch of the past, and the fork's tells their number; both get the next one."""
    numbers = [*range(10)]
    loader = DataLoader(numbers, batch_size=4, sampler=InfiniteSampler(numbers, seed=3), collate_fn=list)
    expected = list(islice(InfiniteSampler(numbers, seed=3), 4 * iteration, 4 * iteration + 8))
    loop = Resumed(loader, iteration)
    skip_by_index(loop)
    if hasattr(loader.sampler, "skip"):
        loader.sampler.skip(4 * iteration)
    else:
        assert {next(loop.dataloader_iterator) for _ in range(iteration)} == {None}
    assert next(loop.dataloader_iterator) + next(loop.dataloader_iterator) == expected


def test_a_loop_that_asks_for_what_it_skips_gets_nothing():
    forwarded = Forwarded(lambda: iter(range(10, 14)), 2)
    assert [next(forwarded) for _ in range(4)] == [None, None, 10, 11]
    told = Forwarded(lambda: iter(range(10, 14)), 2)
    told.skip_iter(2)
    assert next(told) == 10


def test_mmdet_is_that_of_the_family():
    """Which is known by where mmengine looks for mmseg's configs."""
    commands = {
        "onedl-mmsegmentation": "pip install --no-deps onedl-mmdetection==3.5.1 && pip install pycocotools ",
        "mmsegmentation": "pip install mmdet==3.3.0",
    }
    assert mmdet_install().startswith(commands[MODULE2PACKAGE["mmseg"]])


def test_it_is_enough_to_have_the_project_on_the_path(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", NOT_INSTALLED], env=environment, cwd=tmp_path, check=True)

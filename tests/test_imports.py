"""The import rule of the house: tools → augment → dpsims → torch, timm, numpy; never upwards."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPENMMLAB = {"mmseg", "mmengine", "mmcv", "mmdet"}
OURS = {"dpsims", "augment", "tools", "demo", "benchmarks", "tests"}


def imported(file: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too unless `top_level_only`."""
    tree = ast.parse(file.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("file", files("dpsims"), ids=lambda f: f.name)
def test_dpsims_knows_nothing_above_it(file):
    assert not packages(imported(file)) & (OPENMMLAB | {"hydra", "omegaconf", "webdataset"} | OURS - {"dpsims"})


@pytest.mark.parametrize("file", files("augment"), ids=lambda f: f.name)
def test_augment_takes_little_from_dpsims_and_nothing_from_above(file):
    names = imported(file)
    assert not packages(names) & ({"hydra", "omegaconf"} | OURS - {"dpsims", "augment"})
    if "mmseg" not in file.relative_to(ROOT).parts:
        assert not packages(names) & OPENMMLAB
    taken = {name.split(".")[1] for name in names if name.startswith("dpsims.")}
    files_and_ids = {"labels", "layouts", "frame", "instances", "run_folder", "sampling", "spread"}
    assert taken <= files_and_ids | {"sample", "inference", "judge", "hardware", "stop", "pretrained", "__version__"}


@pytest.mark.parametrize("file", files("tools"), ids=lambda f: f.name)
def test_tools_are_imported_by_nobody_and_import_openmmlab_late(file):
    assert not packages(imported(file)) & {"tools", "tests", "benchmarks"}
    top = imported(file, top_level_only=True)
    assert not packages(top) & OPENMMLAB and not any(name.startswith("augment.mmseg") for name in top)


@pytest.mark.parametrize("file", files("configs/segmenters"), ids=lambda f: f.name)
def test_segmenter_configs_import_nothing(file):
    assert not imported(file)

import os
from pathlib import Path

import pytest
import torch

from dpsims.hardware import main_memory, pick_device, use_bf16


def test_devices_and_precisions():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu and pick_device("auto").type in ("cpu", "cuda")
    assert use_bf16(cpu, "bf16") and not use_bf16(cpu, "fp32")
    assert isinstance(use_bf16(cpu, "auto"), bool)
    with pytest.raises(ValueError, match="one of auto, bf16, fp32, not 'fp16'"):
        use_bf16(cpu, "fp16")
    for name in ("mps", "xpu:0", "meta"):
        with pytest.raises(ValueError, match=f"device '{name}': it is cpu or cuda"):
            pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="'cuda:1': this machine has 0 CUDA devices"):
        pick_device("cuda:1")
    with pytest.raises(ValueError, match="device 'abacus'"):
        pick_device("abacus")


def group(folder: Path, name: str, limit: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{limit}\n")


def test_memory_is_what_the_container_may_take(tmp_path):
    all_of_it = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    groups = tmp_path / "groups_of_process"
    assert main_memory(groups, tmp_path) == all_of_it  # no such thing on this system
    for version, line, root, name in (
        (1, "4:cpu,memory:/pod/box\n1:cpuset:/\n", tmp_path / "1" / "memory", "memory.limit_in_bytes"),
        (2, "0::/pod/box\n", tmp_path / "2", "memory.max"),
    ):
        groups.write_text(line)
        cgroups = tmp_path / str(version)
        assert main_memory(groups, cgroups) == all_of_it
        group(root, name, "9223372036854771712" if version == 1 else "max")
        assert main_memory(groups, cgroups) == all_of_it
        group(root / "pod" / "box", name, "3000")
        assert main_memory(groups, cgroups) == 3000
        group(root / "pod", name, "2000")  # which holds for all that is in it
        assert main_memory(groups, cgroups) == 2000
        group(root, name, "1000")  # a container that sees itself as the root
        assert main_memory(groups, cgroups) == 1000


@pytest.mark.parametrize(
    "lines", [b"", b"no colon\n1:memory\n0::", b"0::/a:b\n\n::\n0::/\0", b"\xff:\xff:\xff\n1:memory:/a"]
)
@pytest.mark.parametrize("limit", [b"", b"\n", b"0", b"-1", b"many", b"1e9", b"\xff\xfe", "²".encode()])
def test_odd_contents_set_no_limit(tmp_path, lines, limit):
    (tmp_path / "lines").write_bytes(lines)
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a:b", tmp_path / "memory"):
        folder.mkdir(exist_ok=True)
        for name in ("memory.max", "memory.limit_in_bytes"):
            (folder / name).write_bytes(limit)
    assert main_memory(tmp_path / "lines", tmp_path) == main_memory(tmp_path / "nothing", tmp_path)


def test_files_that_cannot_be_read_set_no_limit(tmp_path):
    (tmp_path / "lines").write_text("0::/")
    (tmp_path / "memory.max").mkdir()  # whoever may read all else cannot read this
    assert main_memory(tmp_path / "lines", tmp_path) == main_memory(tmp_path, tmp_path) > 0

import pytest
import torch

from dpsims.hardware import pick_device, use_bf16


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

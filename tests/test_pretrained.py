"""Weight files: tensors alone are read, and whatever else a file holds is an error that names it."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

from dpsims.pretrained import create_embedding, read_weights


def test_tensors_are_read_from_both_kinds_of_file(tmp_path):
    state = {"a": torch.arange(3.0), "b": torch.ones(2)}
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in state.items()} | {"step": 7}}, tmp_path / "x.pth"
    )
    for name in ("weights.safetensors", "x.pth"):
        found = read_weights(tmp_path / name)
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.pth", b"404: not found"),
        ("text.safetensors", b"404: not found"),
        ("empty.pth", b""),
        ("empty.safetensors", b""),
        ("pickle.pth", nn.Linear(1, 1)),
        ("list.pth", [torch.zeros(1)]),
        ("numbers.pth", {"epoch": 3}),
    ],
)
def test_any_other_file_is_named(tmp_path, name, content):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=f"^weights.*{name}$"):
        read_weights(file)
    with pytest.raises(ValueError, match=f"^weights.*{name}$"):
        create_embedding("resnet18", weights=str(file))


def test_weights_of_another_network_are_told_in_a_line_and_timm_warns_as_before(tmp_path):
    file = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    log = logging.getLogger("timm.models._builder")
    level = log.level
    with pytest.raises(
        ValueError, match=r"resnet18\.pth does not hold the weights of 'resnet50': .*size mismatch"
    ) as e:
        create_embedding("resnet50", weights=str(file))
    assert "\n" not in str(e.value) and log.level == level

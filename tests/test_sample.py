import json

import pytest
import torch

from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette
from dpsims.sample import file_sha256, load_generator, noise, save_generator, to_uint8

SPACE = LabelSpace(("a", "b", "c"), default_palette(3))
ARCHITECTURE = {"num_classes": 3, "height": 32, "width": 64, "channel_base": 2, "cond_channels": 8, "spade_hidden": 8}


@pytest.fixture
def snapshot(tmp_path):
    torch.manual_seed(0)
    generator = Generator(**ARCHITECTURE, gate_init=1.0).eval()
    save_generator(tmp_path, generator, ARCHITECTURE | {"gate_init": 1.0}, SPACE, {"images_seen": 5})
    return tmp_path, generator


def test_a_snapshot_needs_nothing_but_its_two_files(snapshot, tmp_path_factory):
    folder, generator = snapshot
    other = tmp_path_factory.mktemp("elsewhere")
    for name in ("generator.safetensors", "generator.json"):
        (other / name).write_bytes((folder / name).read_bytes())
    loaded = load_generator(other / "generator.safetensors")
    assert (loaded.height, loaded.width, loaded.z_dim, loaded.images_seen) == (32, 64, 64, 5)
    assert loaded.space == SPACE and not loaded.generator.training
    label_map, z = torch.randint(0, 3, (2, 32, 64)), noise([1, 2], 64)
    with torch.no_grad():
        expected = generator.to(memory_format=torch.channels_last)(label_map, z)
        assert torch.equal(loaded.generator(label_map, z), expected)


def test_a_damaged_or_foreign_snapshot_is_refused(snapshot):
    folder, _ = snapshot
    weights, meta_file = folder / "generator.safetensors", folder / "generator.json"
    meta = json.loads(meta_file.read_text())
    whole = weights.read_bytes()

    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="sha256 differs"):
        load_generator(folder)
    weights.write_bytes(whole)
    meta_file.write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(ValueError, match="format 99; this version reads format 1"):
        load_generator(folder)
    meta_file.write_text(json.dumps(meta | {"architecture": meta["architecture"] | {"channel_base": 4}}))
    with pytest.raises(ValueError, match="does not fit the architecture"):
        load_generator(folder)
    meta_file.write_text("{}")
    with pytest.raises(ValueError, match="does not describe a generator"):
        load_generator(folder)
    meta_file.unlink()
    with pytest.raises(ValueError, match="generator.json is missing"):
        load_generator(folder)


def test_a_pickle_in_place_of_the_weights_is_not_opened(snapshot):
    folder, _ = snapshot
    marker = folder / "owned"

    class Hostile:
        def __reduce__(self):
            return (marker.touch, ())

    torch.save(Hostile(), folder / "generator.safetensors")
    meta = json.loads((folder / "generator.json").read_text())
    meta["sha256"] = file_sha256(folder / "generator.safetensors")
    (folder / "generator.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="does not fit"):
        load_generator(folder)
    assert not marker.exists()


def test_noise_is_a_function_of_each_seed_alone():
    assert torch.equal(noise([5, 6, 7], 16)[1], noise([6], 16)[0])
    assert not torch.equal(noise([5], 16), noise([6], 16))
    assert not torch.equal(noise([5], 16), noise([5 + 2**40], 16))


def test_to_uint8_clamps_and_rounds():
    images = torch.tensor([-3.0, -1.0, 0.0, 1.0, 9.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]

"""The demo's street scenes: a seed decides them, their labels hold together, and the data set is whole or not there."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import make_data
from demo.classes import CLASSES, IGNORE_INDEX
from demo.streets import Scene, draw_scene
from dpsims.labels import load_label_space, read_label_map

HEIGHT, WIDTH = 48, 64
THINGS = {CLASSES.index(name) for name in ("tree", "car", "person", "sign")}
TINY = ["--train", "2", "--val", "1", "--test", "1", "--height", "32", "--width", "48"]


def make(out: Path, *options: str) -> None:
    make_data.main(["--out", str(out), *TINY, *options])


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng([7, index]), HEIGHT, WIDTH) for index in range(20)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("streets") / "data"
    make(out)
    return out


def test_every_class_occurs_and_people_and_signs_are_rare(scenes: list[Scene]) -> None:
    pixels = np.bincount(np.stack([scene.label_map for scene in scenes]).ravel(), minlength=256)
    share = dict(zip(CLASSES, pixels / pixels.sum(), strict=False))
    assert set(np.flatnonzero(pixels)) == {*range(len(CLASSES)), IGNORE_INDEX}
    assert share["person"] < 0.03 and share["sign"] < 0.03
    assert share["road"] > 0.15 and share["building"] > 0.15
    assert pixels[IGNORE_INDEX] / pixels.sum() < 0.06


def test_instances_agree_with_the_label_map(scenes: list[Scene]) -> None:
    for scene in scenes:
        numbers = np.unique(scene.instances[scene.instances > 0])
        assert numbers.tolist() == list(range(1, len(numbers) + 1))
        for number in numbers:
            assert len(THINGS & set(np.unique(scene.label_map[scene.instances == number]))) == 1
        assert np.array_equal(scene.instances > 0, np.isin(scene.label_map, list(THINGS)))


def test_sky_is_above_road(scenes: list[Scene]) -> None:
    sky, road = CLASSES.index("sky"), CLASSES.index("road")
    for scene in scenes:
        for column in scene.label_map.T:
            if (column == sky).any() and (column == road).any():
                assert np.flatnonzero(column == sky).max() < np.flatnonzero(column == road).min()


def test_one_class_looks_different_from_scene_to_scene(scenes: list[Scene]) -> None:
    for name in ("sky", "building", "road", "tree"):
        shown = [scene.image[scene.label_map == CLASSES.index(name)] for scene in scenes]
        assert np.std([pixels.mean() for pixels in shown if len(pixels) > 20]) > 10


def test_a_seed_shows_the_same_street_at_any_size() -> None:
    small, large = (draw_scene(np.random.default_rng(3), HEIGHT * k, WIDTH * k).label_map for k in (1, 3))
    seen = (small != IGNORE_INDEX) & (large[1::3, 1::3] != IGNORE_INDEX)
    assert (small == large[1::3, 1::3])[seen].mean() > 0.95


def test_a_scene_is_a_function_of_its_generator() -> None:
    first, again, other = (draw_scene(np.random.default_rng(seed), HEIGHT, WIDTH) for seed in (5, 5, 6))
    for name in ("image", "label_map", "instances"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_the_generic_layout_and_its_sizes(data: Path) -> None:
    space = load_label_space(data / "meta.json")
    assert space.classes == CLASSES
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        images = sorted((data / split / "images").iterdir())
        assert len(images) == count
        for kind in ("labels", "instances"):
            assert [f.stem for f in sorted((data / split / kind).iterdir())] == [f.stem for f in images]
        for image in images:
            with Image.open(image) as photo, Image.open(data / split / "instances" / f"{image.stem}.png") as numbers:
                assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (48, 32))
                assert (numbers.mode, numbers.size) == ("I;16", (48, 32))
            assert read_label_map(data / split / "labels" / f"{image.stem}.png", space).shape == (32, 48)
    shares = json.loads((data / "meta.json").read_text())["splits"]["train"]["pixel_share"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_the_same_seed_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    make(tmp_path / "other", "--seed", "1")
    assert contents(tmp_path / "again") == contents(data)
    pictures = [contents(root / "train") for root in (data, tmp_path / "other")]
    assert all(pictures[0][name] != pictures[1][name] for name in pictures[0])


def test_a_larger_data_set_begins_with_the_smaller_one(data: Path, tmp_path: Path) -> None:
    make(tmp_path / "larger", "--train", "3")
    larger = contents(tmp_path / "larger" / "train")
    smaller = contents(data / "train")
    assert len(larger) == len(smaller) + 3
    assert smaller.items() <= larger.items()


def test_the_same_command_again_does_nothing(data: Path, capsys: pytest.CaptureFixture) -> None:
    before = {file: file.stat().st_mtime_ns for file in data.rglob("*")}
    make(data)
    assert "nothing to do" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in data.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "4"], "--seed 0 there, 4 here"),
        (["--val", "2", "--width", "64"], "--val 1 there, 2 here, --width 48 there, 64 here"),
        (["--height", "8"], "--height must be at least 32, not 8"),
        (["--train", "0"], "--train must be at least 1, not 0"),
    ],
)
def test_other_settings_are_refused(
    data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    before = contents(data)
    with pytest.raises(SystemExit):
        make(data, *options)
    assert message in " ".join(capsys.readouterr().err.split())
    assert contents(data) == before


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(SystemExit):
        make(tmp_path)
    assert "was not made by this command" in " ".join(capsys.readouterr().err.split())
    assert contents(tmp_path) == {"mine.txt": b"kept"}


def test_an_interrupted_run_leaves_nothing_under_the_final_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    written = []

    def stop_at_the_third(*arguments: object) -> None:
        written.append(arguments)
        if len(written) == 3:
            raise KeyboardInterrupt
        write_scene(*arguments)

    write_scene = make_data.write_scene
    monkeypatch.setattr(make_data, "write_scene", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        make(out)
    assert not out.exists()
    monkeypatch.undo()
    make(out)
    assert contents(out) == contents(data)
    assert list(tmp_path.iterdir()) == [out]

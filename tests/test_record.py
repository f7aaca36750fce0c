"""The plan: seeds that one can check by hand, whole label maps per shard, held-out splits kept out."""

import hashlib
from itertools import chain
from pathlib import Path

import pytest

from augment.record import LabelFile, find_label_maps, plan_shards, sample_seed, split_of


def label_files(count: int) -> list[LabelFile]:
    return [LabelFile(f"map_{i:02d}", None, Path(f"map_{i:02d}.png")) for i in range(count)]


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_seed_is_63_bits_of_a_hash_of_what_it_names():
    digest = hashlib.sha256(b"7/city/frame_1/3").hexdigest()
    assert sample_seed(7, "city/frame_1", 3) == int(digest[:16], 16) // 2
    assert sample_seed(0, "a", 0) == 7501225599165244262  # pinned: shards of old plans can be made again
    assert 0 <= sample_seed(-1, "a", 0) < 2**63


def test_seeds_do_not_depend_on_order_or_shards():
    seeds = {}
    for files, maps_per_shard in ((label_files(7), 2), (label_files(7)[::-1], 3), (label_files(7)[2:5], 1)):
        for record in chain(*plan_shards(files, 4, maps_per_shard, run_seed=1)):
            name = (record.source_key, record.sample_index)
            assert seeds.setdefault(name, record.seed) == record.seed
    assert len(set(seeds.values())) == 7 * 4


def test_plan_by_hand():
    shards = plan_shards(label_files(3), samples_per_map=2, maps_per_shard=2, run_seed=0)
    planned = [[(r.key, r.shard, r.source_key, r.sample_index) for r in records] for records in shards]
    assert planned == [
        [
            ("000000000", 0, "map_00", 0),
            ("000000001", 0, "map_00", 1),
            ("000000002", 0, "map_01", 0),
            ("000000003", 0, "map_01", 1),
        ],
        [("000010000", 1, "map_02", 0), ("000010001", 1, "map_02", 1)],
    ]


def test_keys_have_room():
    records = list(chain(*plan_shards(label_files(5), 2500, 4, 0)))
    assert len({record.key for record in records}) == 12500
    assert {len(record.key) for record in records} == {9}
    with pytest.raises(ValueError, match="10000"):
        plan_shards(label_files(5), 2501, 4, 0)
    with pytest.raises(ValueError, match="0 per label map"):
        plan_shards(label_files(5), 0, 4, 0)


def test_finds_label_maps_recursively_by_name(tmp_path):
    touch(tmp_path / "b.png", tmp_path / "a" / "frame_1.5s.png", tmp_path / "a" / "notes.txt", tmp_path / "c.PNG")
    found = find_label_maps(tmp_path)
    assert [f.source_key for f in found] == ["a/frame_1.5s", "b", "c"]
    assert [f.split for f in found] == [None] * 3
    assert found[0].file == tmp_path / "a" / "frame_1.5s.png"


def test_a_split_folder_gives_its_label_maps_alone(tmp_path):
    split = tmp_path / "train"
    touch(split / "labels" / "x.png", split / "images" / "x.png", split / "instances" / "x.png")
    labels, instances = split / "labels" / "x.png", split / "instances" / "x.png"
    assert find_label_maps(split) == [LabelFile("x", "train", labels, instances)]
    assert find_label_maps(split / "labels") == find_label_maps(split)


def test_of_cityscapes_files_only_the_label_maps_are_taken(tmp_path):
    folder = tmp_path / "gtFine" / "train"
    for city, number in (("aachen", 0), ("aachen", 1), ("ulm", 0)):
        kinds = (
            "labelIds.png",
            "color.png",
            "instanceIds.png",
            "labelTrainIds.png",
            "instanceTrainIds.png",
            "poly.json",
        )
        touch(*(folder / city / f"{city}_{number:06d}_000019_gtFine_{kind}" for kind in kinds))
    found = find_label_maps(folder)
    keys = ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000000_000019"]
    assert [f.source_key for f in found] == keys
    assert [f.file for f in found] == [folder / f"{key}_gtFine_labelIds.png" for key in keys]
    assert {f.split for f in found} == {"train"}
    touch(folder / "aachen" / "aachen_000000_000019_gtFine_mine.png")  # of no kind that is known: not passed over
    assert len(find_label_maps(folder)) == 4
    touch(folder / "aachen" / "aachen_000000_000019_gtCoarse_labelIds.png")
    with pytest.raises(ValueError, match="2 files are called 'aachen/aachen_000000_000019'"):
        find_label_maps(folder)


def test_of_cocos_files_those_beside_their_converted_ones_are_taken(tmp_path):
    folder = tmp_path / "train2017"
    touch(folder / "1.png", folder / "1.jpg", folder / "1_labelTrainIds.png", folder / "lone_labelTrainIds.png")
    touch(folder / "_labelTrainIds.png")
    keys = ["1", "_labelTrainIds", "lone_labelTrainIds"]
    assert [f.source_key for f in find_label_maps(folder)] == keys


def test_in_the_generic_layout_names_mean_nothing(tmp_path):
    touch(tmp_path / "train" / "images" / "x.png")
    names = ["a_color.png", "a_gtFine_labelIds.png", "a_gtFine_labelTrainIds.png", "a_labelIds.png"]
    touch(*(tmp_path / "train" / "labels" / name for name in names))
    for folder in (tmp_path / "train", tmp_path / "train" / "labels"):
        assert [f.file.name for f in find_label_maps(folder)] == names
        assert [f"{f.source_key}.png" for f in find_label_maps(folder)] == names  # as their images are called


def test_the_root_of_a_data_set_is_refused_with_its_splits(tmp_path):
    for split in ("train", "test"):
        touch(tmp_path / split / "labels" / "x.png", tmp_path / split / "images" / "x.jpg")
    with pytest.raises(ValueError, match="test, train"):
        find_label_maps(tmp_path)


@pytest.mark.parametrize("split", ["val", "test"])
def test_held_out_label_maps_are_refused_unless_named(tmp_path, split):
    other = {"val": "test", "test": "val"}[split]
    touch(tmp_path / "train" / "a.png", tmp_path / split / "b.png")
    for allowed in ([], [other]):
        with pytest.raises(ValueError, match=f"1 of 2 label maps are of the {split} split.*--allow-split {split}"):
            find_label_maps(tmp_path, allowed)
    assert [f.split for f in find_label_maps(tmp_path, [split])] == [split, "train"][:: -1 if split == "val" else 1]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("/data/gtFine/val/aachen/x.png", "val"),
        ("/data/annotations/validation/x.png", "val"),
        ("/data/stuff/val2017/x.png", "val"),
        ("/test/data/training/x.png", "train"),
        ("/data/testimony/x.png", None),
        ("/data/labels/test.png", None),
    ],
)
def test_the_split_is_read_off_the_nearest_folder(file, split):
    assert split_of(Path(file)) == split


def test_no_folder_no_label_maps_or_two_of_a_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_label_maps(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no label maps \(\*\.png\)"):
        find_label_maps(tmp_path)
    touch(tmp_path / "x.png", tmp_path / "x.PNG")
    with pytest.raises(ValueError, match="2 files are called 'x'"):
        find_label_maps(tmp_path)

"""Every fault that is planted in shards is named, and sound shards are found sound."""

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faulty_shards import edit_manifest, edit_rows, rewrite, swap, write_sound_shards
from PIL import Image
from test_synthesize import SETTINGS, FakeGenerator, make, plan_of, snapshot_of
from upath import UPath

from augment.factory import Settings
from augment.shards import read_rows, read_stats
from augment.synthesize import synthesize
from augment.verify.finding import KINDS, Finding
from augment.verify.walk import Verdict, verify

OTHER = np.zeros((16, 24), np.uint8)


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    return write_sound_shards(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def shards(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "shards"))


def look(folder: Path, **options: object) -> Verdict:
    return verify(folder, threads=2, **options)


def kinds(folder: Path, **options: object) -> dict[str, int]:
    return dict(Counter(finding.kind for finding in look(folder, **options).findings))


def only(folder: Path, kind: str) -> Finding:
    """The one finding of a kind."""
    (finding,) = (finding for finding in look(folder).findings if finding.kind == kind)
    return finding


def edit_meta(**changes: object) -> Callable[[dict[str, bytes], list[dict]], None]:
    """Change what 000000001.json says."""

    def change(members: dict[str, bytes], rows: list[dict]) -> None:
        members["000000001.json"] = json.dumps(json.loads(members["000000001.json"]) | changes).encode()

    return change


def test_sound_shards_have_no_findings(sound, shards):
    verdict = look(sound, generator_sha256="f" * 64)
    assert verdict == Verdict(shards=3, images=12, findings=[])
    rewrite(shards, 0, lambda members, rows: None)  # the tests' own rewriting plants nothing
    assert look(shards).findings == []


@pytest.mark.parametrize("settings", [Settings("png", None), Settings("webp", 80)])
def test_other_formats_and_uneven_plans_are_sound(sound, tmp_path, settings):
    plan = {"samples": [1, 2, 3, 1, 2], "shard_size": 4, "variants": 2}
    make(sound.parent / "labels", tmp_path / "out", settings=settings, plan=plan)
    assert look(tmp_path / "out").findings == []


def test_shards_at_a_url_are_read(sound):
    there = UPath("memory://verify/shards")
    for file in sound.iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    assert verify(there, threads=1) == Verdict(shards=3, images=12, findings=[])
    content = (there / "00001.tar").read_bytes()
    (there / "00001.tar").write_bytes(content[:3000])
    assert "tar" in {finding.kind for finding in verify(there, threads=1).findings}


@pytest.mark.parametrize("extension", ["jpg", "json", "seg.png"])
def test_a_flipped_byte_is_named_by_its_member(shards, extension):
    row = read_rows(shards, 1)[2]
    offset, size = row["members"][extension]
    with open(shards / "00001.tar", "r+b") as tar:
        tar.seek(offset + size // 2)
        byte = tar.read(1)[0]
        tar.seek(offset + size // 2)
        tar.write(bytes([byte ^ 1]))
    assert kinds(shards) == {"crc32": 1, "sha256": 1}
    found = only(shards, "crc32")
    assert (found.shard, found.key) == (1, row["key"]) and f"{row['key']}.{extension}" in found.message


def test_a_flipped_byte_of_a_header_or_of_padding_is_found(shards):
    offset, size = read_rows(shards, 0)[3]["members"]["jpg"]
    original = (shards / "00000.tar").read_bytes()
    for place, expected in ((offset - 512 + 3, {"tar", "sha256"}), (offset + size, {"sha256"})):
        content = bytearray(original)
        content[place] ^= 1
        (shards / "00000.tar").write_bytes(content)
        assert kinds(shards).keys() == expected  # the members behind a broken header are still looked at
    (shards / "00000.tar").write_bytes(original)
    assert look(shards).findings == []


def test_a_truncated_tar_is_named_with_what_it_lost(shards):
    offset, _ = read_rows(shards, 0)[4]["members"]["json"]
    with open(shards / "00000.tar", "r+b") as tar:
        tar.truncate(offset + 10)
    assert kinds(shards) == {"tar": 1, "size": 1, "sha256": 1, "missing": 2}
    lost = [finding.message for finding in look(shards).findings if finding.kind == "missing"]
    assert lost[0] == "00000.tar does not hold 000000004.json, 000000004.seg.png"
    assert lost[1] == "00000.tar does not hold 000000005.jpg, 000000005.json, 000000005.seg.png"
    assert "listed up to its member 14" in only(shards, "tar").message
    with open(shards / "00000.tar", "r+b") as tar:
        tar.truncate(0)
    assert kinds(shards) == {"tar": 1, "size": 1, "sha256": 1, "missing": 6}


def test_a_missing_member_is_named_whoever_hides_it(shards):
    def drop(members: dict[str, bytes], rows: list[dict]) -> None:
        del members["000000003.seg.png"]

    rewrite(shards, 0, drop)
    found = only(shards, "missing")
    assert found.key == "000000003" and "seg.png" in found.message

    def name_it(rows: list[dict]) -> None:
        rows[3]["members"]["seg.png"], rows[3]["crc32"]["seg.png"] = [512, 10], 0

    edit_rows(shards, name_it)
    assert "000000003.seg.png" in only(shards, "missing").message


def test_members_that_no_row_names(shards):
    def smuggle(members: dict[str, bytes], rows: list[dict]) -> None:
        members |= {"000000002.txt": b"x", "000000099.jpg": b"x"}

    rewrite(shards, 0, smuggle)
    edit_rows(shards, lambda rows: [rows[2][part].pop("txt") for part in ("members", "crc32")])
    assert kinds(shards) == {"stray": 2}
    edit_rows(shards, lambda rows: rows[2]["members"].update(txt=[512, 1]) or rows[2]["crc32"].update(txt=0))
    assert "txt, which is none of jpg, json, seg.png" in only(shards, "row").message


def test_a_failed_row_has_no_members(shards):
    def take(rows: list[dict]) -> None:
        rows[0].update(status="bad_image", error="x")

    edit_rows(shards, take)
    assert kinds(shards) == {"row": 1} and only(shards, "row").key == "000000000"


def test_a_swapped_label_is_found_though_all_sums_are_rewritten(shards):
    rewrite(shards, 0, lambda members, rows: swap(members, 1, 4))
    named = [finding for finding in look(shards).findings if "KEY.json" in finding.message]
    assert {finding.kind for finding in look(shards).findings} == {"label"}
    assert [finding.key for finding in named] == ["000000001", "000000004"]


def test_a_swapped_label_is_found_though_its_hash_is_rewritten_too(shards):
    def forge(members: dict[str, bytes], rows: list[dict]) -> None:
        swap(members, 1, 4)
        for key in ("000000001", "000000004"):
            label_map = np.array(Image.open(io.BytesIO(members[f"{key}.seg.png"])))
            meta = json.loads(members[f"{key}.json"])
            meta["label_sha256"] = hashlib.sha256(label_map.tobytes()).hexdigest()
            members[f"{key}.json"] = json.dumps(meta).encode()

    rewrite(shards, 0, forge)
    found = look(shards).findings
    assert [(finding.kind, finding.key) for finding in found] == [("label", "000000001"), ("label", "000000004")]
    assert "not that of 000000000" in found[0].message


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", "cannot be read"),
        (as_png(Image.fromarray(OTHER + 7)), "ids [7] outside the 3 classes"),
        (as_png(Image.fromarray(OTHER).convert("P")), "PNG of mode P, not a PNG of mode L"),
        (as_png(Image.fromarray(OTHER).convert("RGB")), "'RGB'"),
        (as_png(Image.fromarray(OTHER[:8])), "8x24, the plan's size is 16x24"),
    ],
)
def test_label_maps_that_no_reader_can_use(shards, content, message):
    rewrite(shards, 0, lambda members, rows: members.update({"000000001.seg.png": content}))
    found = look(shards).findings
    assert {finding.kind for finding in found} == {"label"} and {finding.key for finding in found} == {"000000001"}
    assert any(message in finding.message for finding in found)


def jpeg(height: int, width: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jpeg(16, 24)[:200], "cannot be read"),
        (jpeg(8, 24), "is 8x24, not 16x24"),
        (jpeg(16, 24, "L"), "JPEG of mode L, not a JPEG of mode RGB"),
        (as_png(Image.new("RGB", (24, 16))), "PNG of mode RGB"),
    ],
)
def test_images_that_are_none(shards, content, message):
    rewrite(shards, 0, lambda members, rows: members.update({"000000001.jpg": content}))
    assert kinds(shards) == {"image": 1}
    assert message in only(shards, "image").message and only(shards, "image").key == "000000001"


def test_pixel_counts_that_are_wrong(shards):
    stats = read_stats(shards, 0)
    stats["class_pixels"][1] += 5
    (shards / "00000.stats.json").write_text(json.dumps(stats))
    assert kinds(shards) == {"pixels": 1, "manifest": 1}  # and the totals are not the sums any more
    assert f"road: {stats['class_pixels'][1]} → {stats['class_pixels'][1] - 5}" in only(shards, "pixels").message


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"seed": 1}, "meta"),
        ({"source_key": "other"}, "meta"),
        ({"split": "val"}, "meta"),
        ({"sample_index": 9}, "meta"),
        ({"variant": 1}, "meta"),
        ({"perturbations": [{"op": "flip"}]}, "meta"),
        ({"generator_sha256": "e" * 64}, "generator"),
        ({"label_sha256": "e" * 64}, "label"),
    ],
)
def test_metadata_that_contradicts(shards, changes, kind):
    rewrite(shards, 0, edit_meta(**changes))
    assert kinds(shards) == {kind: 1} and only(shards, kind).key == "000000001"


def test_perturbations_are_named_alike(shards):
    def flip(members: dict[str, bytes], rows: list[dict]) -> None:
        edit_meta(perturbations=[{"op": "flip", "axis": 1}])(members, rows)
        rows[1]["perturbations"] = ["flip"]

    rewrite(shards, 0, flip)
    assert look(shards).findings == []


def test_metadata_that_is_not_json(shards):
    rewrite(shards, 0, lambda members, rows: members.update({"000000001.json": b"[1]"}))
    assert "no JSON object" in only(shards, "meta").message
    rewrite(shards, 0, lambda members, rows: members.update({"000000001.json": b"{"}))
    assert "not JSON" in only(shards, "meta").message


def test_a_foreign_shard_and_a_foreign_generator(sound, shards, tmp_path):
    foreign = snapshot_of(FakeGenerator(), sha256="e" * 64)
    run = {"device": "cpu", "batch_size": 4, "threads": 1}
    synthesize(foreign, plan_of(sound.parent / "labels"), tmp_path / "foreign", SETTINGS, **run)
    for suffix in ("tar", "jsonl", "stats.json"):
        shutil.copy(tmp_path / "foreign" / f"00001.{suffix}", shards)
    found = look(shards).findings
    assert {finding.kind for finding in found} == {"generator"} and len(found) == 3
    assert "eeeeeeeeeeee, but shards.json names ffffffffffff" in found[0].message
    assert kinds(sound, generator_sha256="e" * 64) == {"generator": 1}


def test_a_stale_manifest(shards):
    edit_manifest(shards, lambda manifest: manifest["totals"]["by_status"].update(ok=11))
    assert "by_status.ok: 11 → 12" in only(shards, "manifest").message
    edit_manifest(shards, lambda manifest: manifest.update(totals=None))
    assert "not finished" in only(shards, "manifest").message


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"label_names_sha256": "0" * 64}, "plan"),  # of other label maps
        ({"samples_per_map": 2, "shard_size": 4}, "plan"),
        ({"images": 14}, "plan"),
        ({"label_maps": 6}, "plan"),
        ({"seed": 6}, "seed"),
        ({"height": 17}, "label"),
        ({"image_format": "png"}, "missing"),
        ({"image_format": None}, "manifest"),
    ],
)
def test_a_manifest_of_another_plan(shards, changes, kind):
    edit_manifest(shards, lambda manifest: manifest["plan"].update(changes))
    assert kind in kinds(shards)


def test_a_manifest_of_another_label_space(shards):
    edit_manifest(shards, lambda manifest: manifest.update(label_space={"classes": ["sky", "road"]}))
    assert {"label", "stats"} <= kinds(shards).keys()


def test_without_a_manifest_the_rest_is_still_looked_at(shards):
    for content in ("{", "[]", '{"plan": 3, "totals": {}}'):
        (shards / "shards.json").write_text(content)
        assert kinds(shards).keys() == {"manifest"}
    (shards / "shards.json").unlink()
    assert kinds(shards) == {"manifest": 1}
    with open(shards / "00001.tar", "ab") as tar:
        tar.write(b"x")
    assert kinds(shards) == {"manifest": 1, "sha256": 1, "size": 1}


@pytest.mark.parametrize("suffix", ["tar", "jsonl", "stats.json"])
def test_missing_files_of_a_shard(shards, suffix):
    (shards / f"00001.{suffix}").unlink()
    assert kinds(shards) == {"missing": 1}
    assert f"00001.{suffix}" in only(shards, "missing").message and only(shards, "missing").shard == 1


def test_a_missing_shard(shards):
    for file in shards.glob("00002.*"):
        file.unlink()
    assert kinds(shards) == {"missing": 1} and "00002 of 3" in only(shards, "missing").message


def test_files_that_are_not_of_the_plan(shards):
    shutil.copy(shards / "00000.tar", shards / "00007.tar")
    shutil.copy(shards / "00000.tar", shards / "extra.tar")
    (shards / "samples.png").touch()  # what belongs to nobody's shards is nobody's fault
    (shards / "00001.tar.host-1-0.part").touch()
    assert kinds(shards) == {"stray": 2, "leftover": 1}
    assert [finding.kind for finding in look(shards).faults] == ["stray", "stray"]


def test_a_stale_row_file(shards):
    rows = read_rows(shards, 0)
    (shards / "00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    assert kinds(shards) == {"sha256": 1, "stats": 1, "stray": 1, "plan": 1, "pixels": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no JSON object"),
        ('{"key": "000000001"}', "has no seed"),
    ],
)
def test_rows_that_cannot_be_read(shards, line, message):
    lines = (shards / "00000.jsonl").read_text().splitlines()
    lines[1] = line
    (shards / "00000.jsonl").write_text("\n".join(lines) + "\n")
    assert kinds(shards) == {"row": 1, "sha256": 1}
    assert f"row 2 of 00000.jsonl {message}" in only(shards, "row").message


@pytest.mark.parametrize(
    "changes", [{"seed": "1"}, {"members": {"jpg": [0]}, "crc32": {"jpg": 0}}, {"crc32": {}}, {"source_key": None}]
)
def test_rows_that_make_no_sense(shards, changes):
    edit_rows(shards, lambda rows: rows[1].update(changes))
    assert kinds(shards)["row"] == 1


def test_places_that_are_wrong(shards):
    edit_rows(shards, lambda rows: rows[1]["members"].update(json=[0, 5]))
    assert kinds(shards) == {"place": 1} and only(shards, "place").key == "000000001"
    edit_rows(shards, lambda rows: rows[1]["members"].update(json=[10**15, 10**15]))
    assert kinds(shards) == {"place": 1}


def test_a_wrong_seed(shards):
    def change(members: dict[str, bytes], rows: list[dict]) -> None:
        rows[1]["seed"] += 1
        edit_meta(seed=rows[1]["seed"])(members, rows)

    rewrite(shards, 0, change)
    assert kinds(shards) == {"seed": 1} and only(shards, "seed").key == "000000001"


def test_a_wrong_key_and_a_sample_twice(shards):
    edit_rows(shards, lambda rows: rows[1].update(key="000000000", members=rows[0]["members"], crc32=rows[0]["crc32"]))
    found = kinds(shards)
    assert found["key"] == found["duplicate"] == 1 and found["stray"] == 1
    edit_rows(shards, lambda rows: rows[1].update(sample_index=0))
    assert kinds(shards)["duplicate"] == 2
    assert "and so is 000000000" in " ".join(f.message for f in look(shards).findings if f.kind == "duplicate")


def test_images_that_are_alike_are_a_note(shards):
    def repeat(members: dict[str, bytes], rows: list[dict]) -> None:
        members["000000002.jpg"] = members["000000004.jpg"] = members["000000000.jpg"]

    rewrite(shards, 0, repeat)
    verdict = look(shards)
    assert verdict.faults == [] and [finding.kind for finding in verdict.findings] == ["alike"]
    assert "2 of 12 images" in verdict.findings[0].message
    assert "000000002 = 000000000" in verdict.findings[0].message


def test_broken_stats(shards):
    for content in ("", "[]", "{}", '{"planned": 6}'):
        (shards / "00000.stats.json").write_text(content)
        assert kinds(shards) == {"stats": 1}


def test_a_folder_of_other_things_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"holds no shards"):
            verify(folder, threads=1)


def test_every_kind_can_be_found():
    """A kind that nothing finds is to go."""
    tests = "".join((Path(__file__).parent / f"test_{name}.py").read_text() for name in ("verify", "resynthesize"))
    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []

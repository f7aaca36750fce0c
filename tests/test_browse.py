"""The gallery of shards: what its data say, what it shows of whom, and that nothing in the shards becomes HTML."""

import base64
import io
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from faulty_shards import edit_rows, rewrite, write_sound_shards
from PIL import Image
from run_tool import run_tool
from test_synthesize import SETTINGS, SPACE, make
from upath import UPath

from augment.factory import Settings
from augment.filter.run import manifest_sha256
from augment.report.browse import Gallery, choose_of_shard, choose_rows, write_gallery
from augment.shards import read_manifest, read_member, read_rows
from dpsims.labels import encode_label_png

SCRIPT = Path(__file__).parents[1] / "tools" / "browse_shards.py"
CHROMIUM = shutil.which("chromium")


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Shards of 6, 3 and 3 images, three of each of four label maps; a fifth label map is bad."""
    return write_sound_shards(tmp_path_factory.mktemp("browse"))


def write(folder: Path, out: Path, images: int = 200, width: int = 384, **options: object) -> tuple[Gallery, dict]:
    """The gallery's figures, and the data in its page."""
    gallery = write_gallery(folder, out, images=images, width=width, **options)
    return gallery, json.loads(Page(out.read_text()).scripts[0])


def content(uri: str) -> tuple[str, bytes]:
    kind, _, encoded = uri.partition(";base64,")
    return kind, base64.b64decode(encoded)


def test_the_data_are_those_of_the_shards(shards, tmp_path):
    gallery, data = write(shards, tmp_path / "gallery.html")
    assert gallery == Gallery(shown=12, total=12, size=(tmp_path / "gallery.html").stat().st_size, scored=None)
    assert (data["total"], data["scored"], data["width"]) == (12, False, 384)
    colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in SPACE.palette]
    named = [{"id": i, "name": name, "colour": colours[i]} for i, name in enumerate(SPACE.classes)]
    assert data["classes"] == named
    rows = {row["key"]: row for shard in range(3) for row in read_rows(shards, shard) if row["status"] == "ok"}
    assert [item["key"] for item in data["items"]] == list(rows)
    for item in data["items"]:
        row = rows[item["key"]]
        assert (item["source"], item["split"], item["sample"]) == (row["source_key"], None, row["sample_index"])
        assert content(item["image"]) == ("data:image/jpeg", read_member(shards, row, "jpg"))  # the very bytes
        assert json.loads(item["meta"]) == json.loads(read_member(shards, row, "json"))
        assert item["size"] == [24, 16] and "score" not in item
        label_map = np.array(Image.open(io.BytesIO(read_member(shards, row, "seg.png"))))
        drawn = np.array(Image.open(io.BytesIO(content(item["label"])[1])).convert("RGB"))
        np.testing.assert_array_equal(drawn, SPACE.colorize(label_map))
        shares = np.bincount(label_map.ravel(), minlength=256)[:3] / label_map.size
        assert dict(item["classes"]) == pytest.approx({i: share for i, share in enumerate(shares) if share}, abs=1e-5)
        assert [share for _, share in item["classes"]] == sorted(dict(item["classes"]).values(), reverse=True)


def test_a_page_needs_nothing_but_itself(shards, tmp_path):
    write(shards, tmp_path / "gallery.html")
    page = Page((tmp_path / "gallery.html").read_text())
    addresses = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert addresses == [] and "link" not in dict(page.elements)
    assert "http" not in page.scripts[1] and "url(" not in (tmp_path / "gallery.html").read_text()


def test_wide_images_are_reduced(shards, tmp_path):
    for name, settings in (("jpg", SETTINGS), ("png", Settings("png", None))):
        make(shards.parent / "labels", tmp_path / name, settings=settings)
    small, data = write(tmp_path / "jpg", tmp_path / "small.html", width=12)
    for item in data["items"]:
        for part in ("image", "label"):
            assert Image.open(io.BytesIO(content(item[part])[1])).size == (12, 8)
        assert item["size"] == [24, 16]
    _, data = write(tmp_path / "png", tmp_path / "png.html")  # PNGs of photos are large: they become JPEGs
    assert {content(item["image"])[0] for item in data["items"]} == {"data:image/jpeg"}
    assert small.size < (tmp_path / "png.html").stat().st_size


def test_a_sample_is_spread_over_shards_label_maps_and_samples(shards, tmp_path):
    rows, total = choose_rows(shards, 4)
    assert total == 12 and [row["source_key"] for row in rows] == ["map_0", "map_1", "map_2", "map_4"]
    assert [row["sample_index"] for row in rows] == [0, 1, 2, 0]  # not the first one of each
    for count in range(1, 13):
        keys = [row["key"] for row in choose_rows(shards, count)[0]]
        assert len(set(keys)) == count and keys == sorted(keys)
        of_map = Counter(row["source_key"] for row in choose_rows(shards, count)[0]).values()
        assert max(of_map) - min(of_map) <= 1 or count < 4
    assert len(choose_rows(shards, 999)[0]) == 12


def test_label_maps_with_few_samples_leave_their_share_to_others():
    rows = [{"source_key": name, "n": i} for name, count in (("a", 1), ("b", 9), ("c", 2)) for i in range(count)]
    for count in range(1, 13):
        chosen = list(choose_of_shard(rows, count, turn=0))
        assert len(chosen) == count and all(row in rows for row in chosen)
    assert Counter(row["source_key"] for row in choose_of_shard(rows, 9, turn=0)) == {"a": 1, "b": 6, "c": 2}


@pytest.fixture
def hostile(tmp_path) -> Path:
    """Label maps whose names are HTML, JavaScript and a lone surrogate."""
    names = ["x</script><script>document.title='taken'", '<img src=x onerror="document.title=1">', "&amp;\"'\udcff"]
    for name in names:
        file = tmp_path / "labels" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_label_png(np.zeros((16, 24), np.uint8)))
    make(tmp_path / "labels", tmp_path / "shards", plan={"samples": 1, "shard_size": 2})
    edit = {"perturbations": ["</script><b>flip", "crop"]}
    for file in (tmp_path / "shards").glob("*.jsonl"):
        lines = [json.loads(line) | edit for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "shards"


def test_names_never_become_html(hostile, tmp_path):
    _, plain = write(hostile, tmp_path / "gallery.html")
    assert {item["source"] for item in plain["items"]} == {
        row["source_key"] for i in range(2) for row in read_rows(hostile, i)
    }
    page = Page((tmp_path / "gallery.html").read_text())
    assert len(page.scripts) == 2
    assert [attributes.get("src") for tag, attributes in page.elements if tag in ("img", "b")] == [None] * 4
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.fixture
def decisions(shards, tmp_path) -> Path:
    """Of all but the last image: every third one is dropped; the scores are 0, 0.1, …; one is not finite."""
    keys = [row["key"] for shard in range(3) for row in read_rows(shards, shard) if row["status"] == "ok"]
    rows = [
        {"key": key, "keep": i % 3 > 0, "score": i / 10, "reason": "low" if i % 3 == 0 else None}
        for i, key in enumerate(keys)
    ]
    rows[4]["score"] = float("nan")
    (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    return tmp_path


def test_decisions_are_laid_over(shards, decisions, tmp_path):
    gallery, data = write(shards, tmp_path / "gallery.html", decisions=decisions)
    assert gallery.scored == 11 and data["scored"]
    items = data["items"]
    assert [item.get("keep") for item in items] == [False, True, True] * 3 + [False, True, None]
    assert items[3]["score"] == 0.3 and items[3]["reason"] == "low" and items[4]["score"] is None
    with pytest.raises(ValueError, match=r"--decisions: .*decisions.jsonl is missing"):
        write(shards, tmp_path / "gallery.html", decisions=tmp_path / "nowhere")
    for line in ("{", "[]", '{"key": "000000000"}'):
        (decisions / "decisions.jsonl").write_text(line)
        with pytest.raises(ValueError, match="has not a row"):
            write(shards, tmp_path / "gallery.html", decisions=decisions)


def test_decisions_on_other_shards_are_refused(shards, decisions, tmp_path):
    manifest = read_manifest(shards)
    for other, refused in ((manifest, False), (manifest | {"generator_sha256": "another"}, True)):
        settings = {"shards": {"manifest_sha256": manifest_sha256(other)}}
        (decisions / "filter.json").write_text(json.dumps({"settings": settings}))
        with pytest.raises(ValueError, match="is of other shards than those in") if refused else nullcontext():
            write(shards, tmp_path / "gallery.html", decisions=decisions)


def test_what_cannot_be_shown_is_told_by_its_key(shards, tmp_path):
    broken = Path(shutil.copytree(shards, tmp_path / "broken"))
    rewrite(broken, 0, lambda members, rows: members.update({"000000001.jpg": b"x"}))
    with pytest.raises(ValueError, match=r"000000001 in .* cannot be read: .*verify_shards"):
        write(broken, tmp_path / "gallery.html")
    for shard in range(3):
        (broken / f"{shard:05d}.stats.json").unlink()
    with pytest.raises(ValueError, match="holds no image"):
        write(broken, tmp_path / "gallery.html")
    assert not (tmp_path / "gallery.html").exists()


def test_shards_at_a_url_are_shown(shards, tmp_path):
    there = UPath("memory://browse/shards")
    for file in shards.iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    assert write(there, tmp_path / "there.html")[1] == write(shards, tmp_path / "here.html")[1]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("#source=000020002", 1),
        ("#keep=kept&from=0.5&to=0.7", 2),
        ("#perturbed=flip&source=MAP_0", 1),
        ("#class=sky,road,car&source=nowhere", 0),
    ],
)
def test_a_browser_filters_by_the_address(shards, decisions, tmp_path, address, shown):
    changed = Path(shutil.copytree(shards, tmp_path / "shards"))
    edit_rows(changed, lambda rows: [rows[i].update(perturbations=["flip"]) for i in (1, 4)])
    write(changed, tmp_path / "gallery.html", decisions=decisions)
    assert f"showing {shown} of 12 (of 12 in the shards)" in dom(tmp_path / "gallery.html", address)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_hostile_names_as_text(hostile, tmp_path):
    _, data = write(hostile, tmp_path / "gallery.html")
    seen = dom(tmp_path / "gallery.html", f"#open={data['items'][0]['key']}")
    assert "<title>shards" in seen and "showing 3 of 3" in seen and "&lt;img src=x" in seen


def dom(page: Path, address: str) -> str:
    """What a browser makes of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    command = [CHROMIUM, *options, f"file://{page}{address}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture
def tool(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool; gives its exit code and what it printed, (stdout, stderr)."""

    def run(*options: object) -> tuple[int, str, str]:
        return run_tool(monkeypatch, capsys, "browse_shards", *options)

    return run


def test_the_tool_writes_the_page_and_says_how_large_it_is(tool, shards, decisions, tmp_path):
    out = tmp_path / "new" / "gallery.html"
    code, printed, _ = tool(shards, "--out", out, "--images", "5", "--decisions", decisions)
    assert code == 0 and f"5 of 12 images, {out.stat().st_size / 1e6:.1f} MB" in printed and str(out) in printed
    assert len(json.loads(Page(out.read_text()).scripts[0])["items"]) == 5
    assert "without a decision: 1 of them" in tool(shards, "--out", out, "--decisions", decisions)[1]


def test_the_tool_refuses_what_makes_no_sense(tool, tmp_path):
    code, _, printed = tool(tmp_path, "--out", tmp_path / "gallery.html")
    assert code == 2 and "holds no shards" in printed
    code, _, printed = tool(tmp_path, "--out", tmp_path / "gallery.html", "--images", "0")
    assert code == 2 and "--images is at least 1, not 0" in printed
    code, _, printed = tool(tmp_path, "--out", tmp_path / "shards.json")
    assert code == 2 and "shards.json is to be a file called *.html" in printed

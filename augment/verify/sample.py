"""One sample of a shard, held against its manifest row and against what all samples of the folder have in common."""

import hashlib
import io
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from augment.factory import IMAGE_FORMATS
from augment.shards import OK
from augment.verify.finding import Finding
from augment.verify.listing import Listing, Places
from dpsims.labels import UNREADABLE, LabelSpace, read_label_map
from dpsims.sample import sample_seed

FIELDS = {"key": str, "seed": int, "shard": int, "source_key": str, "split": str | None, "sample_index": int}
FIELDS |= {"variant": int, "perturbations": list, "status": str, "members": dict, "crc32": dict}
TOLD_TWICE = ("source_key", "split", "variant", "sample_index", "seed")  # by the row and by KEY.json
DIGEST = 16  # bytes; of millions of images no two will have the same by chance


@dataclass(frozen=True)
class Common:
    """What `shards.json` says of every sample; None where it does not say."""

    space: LabelSpace | None = None
    height: int | None = None
    width: int | None = None
    image_format: str | None = None
    seed: int | None = None
    generator_sha256: str | None = None

    @property
    def size(self) -> tuple[int | None, int | None]:
        return self.height, self.width


@dataclass
class Checked:
    """A row and what was found about it.

    Attributes:
        pixels: of each id 0..255 in the label map; None if it cannot be used.
        label_sha256: of the label map's ids; empty if it cannot be used.
        image_digest: of the image file; empty if it was not read.
    """

    row: dict
    findings: list[Finding] = field(default_factory=list)
    pixels: Int[np.ndarray, "256"] | None = None
    label_sha256: str = ""
    image_digest: bytes = b""

    def add(self, kind: str, message: str) -> None:
        self.findings.append(Finding(self.row["shard"], self.row["key"], kind, message))


def row_error(row: object) -> str | None:
    """What keeps a row from being read at all."""
    if not isinstance(row, dict):
        return "is no JSON object"
    for name, kind in FIELDS.items():
        if name not in row:
            return f"has no {name}"
        if not isinstance(row[name], kind):
            return f"has the {name} {row[name]!r}"
    if row["members"].keys() != row["crc32"].keys():
        return f"has members {', '.join(row['members'])}, but checksums of {', '.join(row['crc32'])}"
    for extension, place in row["members"].items():
        whole = isinstance(place, list) and len(place) == 2 and all(type(it) is int and it >= 0 for it in place)
        if not whole:
            return f"says that {extension} lies at {place!r}, which is not [offset, size]"
        if type(row["crc32"][extension]) is not int:
            return f"has the crc32 {row['crc32'][extension]!r} of {extension}"
    return None


def check_row(row: dict, position: int, shard: int, common: Common) -> Checked:
    """What a row says of itself.

    Args:
        row: without a `row_error`.
        position: of the row in its manifest, from 0.
        shard: the manifest's.
    """
    checked = Checked({**row, "shard": shard})
    key = f"{shard:05d}{position:04d}"
    if row["key"] != key:
        checked.add("key", f"row {position + 1} has the key {row['key']}; the plan's is {key}")
    if row["shard"] != shard:
        checked.add("row", f"it lies in shard {shard:05d}, but says shard {row['shard']}")
    if common.seed is not None:
        seed = sample_seed(common.seed, row["source_key"], row["sample_index"])
        if row["seed"] != seed:
            of = f"of {row['source_key']!r}, sample {row['sample_index']}, by the plan's seed {common.seed}"
            checked.add("seed", f"the seed is {row['seed']}; that {of}, is {seed}")
    if row["status"] != OK and row["members"]:
        checked.add("row", f"its status is {row['status']}, but it has {', '.join(row['members'])}")
    return checked


def check_sample(checked: Checked, tar: Path, listing: Listing, common: Common) -> Checked:
    """Hold a row's files against it, and against each other; adds to `checked`, which is by `check_row`."""
    row, listed = checked.row, listing.places.get(checked.row["key"], {})
    wanted = {common.image_format or image_extension(row), "json", "seg.png"} if row["status"] == OK else set()
    for extension in sorted(wanted - row["members"].keys()):
        checked.add("missing", f"its row names no {extension or 'image'}")
    for extension in sorted(row["members"].keys() - wanted if wanted else ()):
        checked.add("row", f"its row names {extension}, which is none of {', '.join(sorted(wanted))}")
    for extension in sorted(listed.keys() - row["members"].keys()):
        checked.add("stray", f"{tar.name} holds {row['key']}.{extension}, which its row does not name")
    contents = read_members(checked, tar, listed, listing.end)
    meta = check_meta(checked, contents["json"], common) if "json" in contents else None
    label_map = check_label(checked, contents["seg.png"], common, meta) if "seg.png" in contents else None
    extension = image_extension(row)
    if extension in contents:
        checked.image_digest = hashlib.blake2b(contents[extension], digest_size=DIGEST).digest()
        size = label_map.shape if label_map is not None and None in common.size else common.size
        check_image(checked, contents[extension], extension, size)
    return checked


def image_extension(row: dict) -> str:
    return next((extension for extension in row["members"] if extension in IMAGE_FORMATS), "")


def read_members(checked: Checked, tar: Path, listed: Places, end: int) -> dict[str, bytes]:
    """The files of a sample that are as they were written, by extension.

    Args:
        listed: what its key has in the tar's own listing.
        end: where that ends, in bytes: members behind it are not listed, though the tar may hold them.
    """
    row, contents, missing = checked.row, {}, []
    length = tar.stat().st_size
    with open(tar, "rb") as stream:
        for extension, (offset, size) in row["members"].items():
            name = f"{row['key']}.{extension}"
            if extension in listed and listed[extension] != (offset, size):
                there = "byte {}, {} bytes long".format(*listed[extension])
                checked.add("place", f"{name} lies at {there}; its row says {offset} and {size}")
                continue
            if offset + size > length or (extension not in listed and offset < end):
                missing.append(name)
                continue
            stream.seek(offset)
            content = stream.read(size)
            if zlib.crc32(content) != row["crc32"][extension]:
                sums = f"{zlib.crc32(content):08x}, its row says {row['crc32'][extension]:08x}"
                checked.add("crc32", f"the bytes of {name} were changed: crc32 {sums}")
            else:
                contents[extension] = content
    if missing:
        checked.add("missing", f"{tar.name} does not hold {', '.join(missing)}")
    return contents


def check_meta(checked: Checked, content: bytes, common: Common) -> dict | None:
    """Hold KEY.json against its row; returns what it says, None if it cannot be read."""
    row, name = checked.row, f"{checked.row['key']}.json"
    try:
        meta = json.loads(content)
    except ValueError as error:
        checked.add("meta", f"{name} is not JSON: {error}")
        return None
    if not isinstance(meta, dict):
        checked.add("meta", f"{name} is no JSON object")
        return None
    for told in TOLD_TWICE:
        if meta.get(told) != row[told]:
            checked.add("meta", f"{name} has the {told} {meta.get(told)!r}; its row has {row[told]!r}")
    done = meta.get("perturbations")
    names = [it.get("op") if isinstance(it, dict) else it for it in done] if isinstance(done, list) else done
    if names != row["perturbations"]:
        checked.add("meta", f"{name} has the perturbations {names!r}; its row has {row['perturbations']!r}")
    generator = meta.get("generator_sha256")
    if common.generator_sha256 is not None and generator != common.generator_sha256:
        manifest = f"shards.json names {common.generator_sha256[:12]}"
        checked.add("generator", f"made by the generator {str(generator)[:12]}, but {manifest}")
    return meta


def check_label(checked: Checked, content: bytes, common: Common, meta: dict | None) -> UInt8[np.ndarray, "h w"] | None:
    """Decode a label map and hold it against the plan and against its hash in KEY.json (`meta`)."""
    name = f"{checked.row['key']}.seg.png"
    space = common.space or LabelSpace(tuple(map(str, range(255))), ((0, 0, 0),) * 255)  # any id
    try:
        label_map = read_label_map(content, space, source=name)
        with Image.open(io.BytesIO(content)) as image:
            kind = f"{image.format} of mode {image.mode}"
    except UNREADABLE as error:  # LabelMapError is a ValueError, too
        checked.add("label", str(error))
        return None
    if kind != "PNG of mode L":
        checked.add("label", f"{name} is a {kind}, not a PNG of mode L")
    if None not in common.size and label_map.shape != common.size:
        checked.add("label", f"{name} is {by(label_map.shape)}, the plan's size is {by(common.size)} (height x width)")
    checked.pixels = np.bincount(label_map.ravel(), minlength=256)
    checked.label_sha256 = hashlib.sha256(label_map.tobytes()).hexdigest()
    if meta is not None and meta.get("label_sha256") != checked.label_sha256:
        told = f"label_sha256 {str(meta.get('label_sha256'))[:12]}, but that of {name} is {checked.label_sha256[:12]}"
        checked.add("label", f"not the label map that the image was made from: KEY.json has {told}")
    return label_map


def check_image(checked: Checked, content: bytes, extension: str, size: tuple[int | None, int | None]) -> None:
    """Decode an image and hold it against the size, (height, width), and the format that it is to have."""
    name = f"{checked.row['key']}.{extension}"
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            found, kind = (image.height, image.width), (image.format, image.mode)
    except UNREADABLE as error:
        checked.add("image", f"{name} cannot be read: {error}")
        return
    if kind != (IMAGE_FORMATS[extension], "RGB"):
        checked.add("image", f"{name} is a {kind[0]} of mode {kind[1]}, not a {IMAGE_FORMATS[extension]} of mode RGB")
    if None not in size and found != size:
        checked.add("image", f"{name} is {by(found)}, not {by(size)} (height x width)")


def by(size: tuple[int | None, ...]) -> str:
    return "x".join(map(str, size))

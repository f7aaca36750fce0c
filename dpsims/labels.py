"""Label maps: their classes, their files, and every conversion of ids that the project makes.

A label map is (H, W) uint8 with ids 0..C-1 and 255 = ignore. Ids are mapped here and nowhere else.
"""

import io
import json
import reprlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

IGNORE_INDEX = 255
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for broken files
TRAIN_IDS = "_labelTrainIds.png"  # ends the names of what converters make of label maps: ids of the classes already
LABEL_SPACES = Path(__file__).parent / "label_spaces"  # tables of official data sets: NAME.json


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """The PASCAL VOC colour map (bits of the id spread over R, G, B), from its second entry on: no class is black."""
    colours = []
    for label in range(1, num_classes + 1):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((label >> (3 * bit + channel)) & 1) << (7 - bit)
        colours.append(tuple(rgb))
    return tuple(colours)


def _is_colour(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_id(channel) for channel in value)


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= 255


def _raw_to_id(meta: dict, classes: list[str]) -> dict[int, int] | None:
    """What `raw_to_id`, or else `ignore_index`, says of the ids in the files."""
    table, ignore = meta.get("raw_to_id"), meta.get("ignore_index", IGNORE_INDEX)
    if table is not None:
        if not isinstance(table, dict) or not all(raw.isdecimal() and _is_id(label) for raw, label in table.items()):
            raise ValueError(f'`raw_to_id` is an object of ids such as {{"7": 0}}, not {reprlib.repr(table)}')
        return {int(raw): label for raw, label in table.items()}
    if not _is_id(ignore):
        raise ValueError(f"`ignore_index` is a number of 0 to 255, not {ignore!r}")
    if ignore < len(classes):
        raise ValueError(f"ignore_index {ignore} is also the id of class {classes[ignore]!r}")
    return None if ignore == IGNORE_INDEX else {**{label: label for label in range(len(classes))}, ignore: IGNORE_INDEX}


class LabelMapError(ValueError):
    """A label map that cannot be used. `kind` says why: "unreadable", "mode" (not 8-bit) or "ids" (no class' own)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set and how its files number them.

    Attributes:
        classes: C names; the position is the id.
        palette: C colours, RGB 0..255.
        raw_to_id: id in the data set's files → id here (0..C-1 or 255); None where the files hold our ids already.
        things: names of the classes whose pixels are objects that can be counted; None where nobody has said.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    raw_to_id: dict[int, int] | None = None
    things: tuple[str, ...] | None = field(default=None, compare=False)  # says nothing of how files are numbered

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= IGNORE_INDEX:
            raise ValueError(f"a label space has 1 to {IGNORE_INDEX} classes, not {self.num_classes}")
        if len(self.palette) != self.num_classes:
            raise ValueError(f"palette has {len(self.palette)} colours for {self.num_classes} classes")
        repeated = {name for name in self.classes if self.classes.count(name) > 1}
        if repeated:
            raise ValueError(f"class names must differ; repeated: {sorted(repeated)}")
        unknown = [name for name in self.things or () if name not in self.classes]
        if unknown:
            raise ValueError(f"things are names of classes; no class is called {unknown}")
        for raw, label in (self.raw_to_id or {}).items():
            if not 0 <= raw <= 255:
                raise ValueError(f"raw ids are 0 to 255, not {raw}")
            if label != IGNORE_INDEX and not 0 <= label < self.num_classes:
                raise ValueError(f"raw id {raw} maps to {label}, but there are {self.num_classes} classes")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @classmethod
    def from_meta(cls, meta: object, source: str = "meta.json") -> "LabelSpace":
        """From the keys of a `meta.json`: `classes`, `palette`, `things`, and `ignore_index` or `raw_to_id`.

        Raises:
            ValueError: it holds something else; the message names `source`.
        """
        if not isinstance(meta, dict) or not meta.get("classes"):
            raise ValueError(f"{source} names no `classes`")
        names, colours = meta["classes"], meta.get("palette")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{source}: `classes` is a list of names, not {reprlib.repr(names)}")
        if colours is not None and not (isinstance(colours, list) and all(map(_is_colour, colours))):
            raise ValueError(f"{source}: `palette` is a list of [R, G, B] of 0 to 255, not {reprlib.repr(colours)}")
        things = meta.get("things")
        if things is not None and not (isinstance(things, list) and all(isinstance(name, str) for name in things)):
            raise ValueError(f"{source}: `things` is a list of names of classes, not {reprlib.repr(things)}")
        palette = default_palette(len(names)) if colours is None else tuple(tuple(colour) for colour in colours)
        try:
            return cls(tuple(names), palette, _raw_to_id(meta, names), None if things is None else tuple(things))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_meta(self) -> dict:
        """The inverse of `from_meta` for label maps that hold our ids (which everything we write does)."""
        palette = [list(colour) for colour in self.palette]
        meta = {"classes": list(self.classes), "palette": palette, "ignore_index": IGNORE_INDEX}
        return meta if self.things is None else {**meta, "things": list(self.things)}

    def from_raw(self, raw: UInt8[np.ndarray, "h w"], source: str) -> UInt8[np.ndarray, "h w"]:
        """Map a file's ids to ours; an id that the space does not know is an error that names `source`."""
        lut = np.full(256, -1, np.int16)
        if self.raw_to_id is None:
            lut[: self.num_classes] = np.arange(self.num_classes)
            lut[IGNORE_INDEX] = IGNORE_INDEX
        else:
            for raw_id, label in self.raw_to_id.items():
                lut[raw_id] = label
        label_map = lut[raw]
        if label_map.min() < 0:
            unknown = sorted(int(i) for i in np.unique(raw[label_map < 0]))
            listed = str(unknown[:8]) if len(unknown) <= 8 else f"{str(unknown[:8])[:-1]}, …]"
            raise LabelMapError(
                "ids",
                f"label map has ids {listed} outside the {self.num_classes} classes "
                f"(ignore_index={IGNORE_INDEX}): {source}",
            )
        return label_map.astype(np.uint8)

    def colorize(self, label_map: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """Paint ids with the palette; ignored pixels are black."""
        lut = np.zeros((256, 3), np.uint8)
        lut[: self.num_classes] = self.palette
        return lut[label_map]


def label_space_names() -> list[str]:
    """Of the official data sets."""
    return sorted(file.stem for file in LABEL_SPACES.glob("*.json"))


def find_label_space(name: str | None, root: Path) -> LabelSpace:
    """A label space of an official data set by name; None is what `root`/meta.json says."""
    if name is not None:
        names = label_space_names()
        if name not in names:
            raise ValueError(f"data.label_space is one of {', '.join(names)}, or null for meta.json, not {name!r}")
        return load_label_space(LABEL_SPACES / f"{name}.json")
    if not (root / "meta.json").is_file():
        raise ValueError(f'{root / "meta.json"} is missing: it names the classes ({{"classes": ["sky", …]}})')
    return load_label_space(root / "meta.json")


def load_label_space(meta_file: Path) -> LabelSpace:
    """The label space that a JSON file describes (`LabelSpace.from_meta`)."""
    try:
        meta = json.loads(meta_file.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{meta_file} is not JSON: {error}") from None
    return LabelSpace.from_meta(meta, source=str(meta_file))


def read_label_map(file: Path | bytes, space: LabelSpace, source: str | None = None) -> UInt8[np.ndarray, "h w"]:
    """Read a label PNG (8-bit, mode L or P) as ids of `space`; anything else is a ValueError that names the file."""
    source = source or str(file)
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            mode, stored, raw = image.mode, image.tile and image.tile[0][3], np.array(image)
    except UNREADABLE as error:
        raise LabelMapError("unreadable", f"label map cannot be read ({error}): {source}") from error
    if mode not in ("L", "P"):
        raise LabelMapError("mode", f"a label map is an 8-bit PNG of mode L or P, not {mode!r}: {source}")
    if stored in ("L;2", "L;4"):  # Pillow spreads such greys over 0..255, and the ids with them
        raise LabelMapError("mode", f"a grey label map has 8 bits a pixel, not {stored[-1]}: {source}")
    return space.from_raw(raw, source)


def encode_label_png(label_map: UInt8[np.ndarray, "h w"]) -> bytes:
    """An 8-bit PNG of mode L, so that every reader gets ids; the same array gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(label_map).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def onehot(label_map: Int[Tensor, "n h w"], num_classes: int) -> Float[Tensor, "n c h w"]:
    """(N, H, W) ids → (N, C, H, W) zeros and ones; an ignored pixel is all zeros."""
    classes = torch.arange(num_classes, device=label_map.device).view(1, -1, 1, 1)
    return (label_map.unsqueeze(1) == classes).float()

"""A part of a data set's training images as a data set of its own: the same folders, with links to the files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from augment.storage import write_text
from dpsims.layouts import find_instances, find_pairs

NOTE = "subset.json"


def choose(keys: list[str], fraction: float | int, seed: int) -> list[str]:
    """A random part of these names, at least one; what a smaller fraction takes is in what a larger one takes."""
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the images is more than 0 and at most 1, not {fraction}")
    if seed < 0:
        raise ValueError(f"--seed is at least 0, not {seed}")
    order = np.random.default_rng(seed).permutation(len(keys))
    return sorted(keys[i] for i in order[: max(1, round(fraction * len(keys)))])


def link_subset(
    root: Path, out: Path, fraction: float | int, *, seed: int = 0, split: str = "train", layout: str = "generic"
) -> list[str]:
    """Make `out` a data set that lacks the other images of a split, and their label and instance maps.

    One that is there already stays.

    Args:
        root: of the data set, in a layout of `dpsims.layouts`.
        split: of which a part is taken; the others are linked whole.

    Returns:
        The names of the images that are in it.

    Raises:
        ValueError: no such data set, or an `out` that is something else.
    """
    root = root.resolve()
    pairs = find_pairs(root, split, layout)
    chosen = choose([pair.key for pair in pairs], fraction, seed)
    note = {"root": str(root), "split": split, "layout": layout, "fraction": fraction, "seed": seed}
    note |= {"images": len(chosen), "of": len(pairs), "names": chosen}
    if out.exists():
        found = json.loads((out / NOTE).read_text()) if (out / NOTE).is_file() else {}
        if found != note:
            raise ValueError(f"{out} is there already, and is not {fraction:g} of the {split} images in {root}")
        return chosen
    files = getattr(find_instances(root, split, layout, objects=False), "files", {})
    left_out = {pair.key for pair in pairs} - set(chosen)
    lacking = {file for pair in pairs if pair.key in left_out for file in (pair.image, pair.label)}
    lacking |= {files[key] for key in left_out if key in files}

    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for folder, _, names in os.walk(root, followlinks=True):
        copy = part / Path(folder).relative_to(root)
        copy.mkdir(parents=True)
        for name in names:
            if Path(folder, name) not in lacking and name != NOTE:
                (copy / name).symlink_to(Path(folder, name).resolve())
    write_text(part / NOTE, json.dumps(note, indent=1, ensure_ascii=False) + "\n")
    part.rename(out)
    return chosen

"""The log of a GAN's training as curves. Not every row has every figure: a validation is a row of its own."""

import json
import math
from pathlib import Path

Curves = dict[str, dict[str, list]]  # figure → {"images_seen": […], "value": […]}


def read_training_log(run: Path) -> Curves:
    """Every finite number of a run folder's `log.jsonl`; empty where there is none."""
    file = run / "log.jsonl"
    curves: Curves = {}
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut short: the run goes on, or was killed
        for key, value in row.items():
            if key != "images_seen" and isinstance(value, int | float) and math.isfinite(value):
                curve = curves.setdefault(key, {"images_seen": [], "value": []})
                curve["images_seen"].append(row["images_seen"])
                curve["value"].append(value)
    return curves

"""A folder of tools/gain.py as it is after its trainings, with numbers that are made up."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from augment.report.machine import describe_machine

CLASSES = ("sky", "road", "car & <van>", "pole")
TITLES = {
    "real": "real images alone",
    "synthetic": "synthetic images alone",
    "mixed": "real and synthetic images",
    "pretrain": "synthetic images, then real ones",
    "on-the-fly": "real images and images painted on the fly",
}
Score = Callable[[str, str, str, int], float]  # fraction's name, budget, arm, seed → mIoU in percent


def write_gain_folder(
    out: Path,
    score: Score,
    *,
    arms: Sequence[str] = ("real", "mixed"),
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0, 1, 2),
    budgets: Sequence[str] = ("iterations",),
    classes: Sequence[str] = CLASSES,
    extras: bool = False,
) -> Path:
    """All trainings of a comparison; with `extras` what was logged of them, and pictures of what they trained on."""
    rng = np.random.default_rng(0)
    described = [describe_arm(arm) for arm in arms]
    parts = [{"fraction": part, "name": f"{100 * part:g}", "images": round(367 * part)} for part in fractions]
    settings = {"classes": list(classes), "seeds": list(seeds), "iterations": 600, "share": 0.5, "fractions": parts}
    settings |= {"arms": described, "budgets": list(budgets), "synthesis": ["--samples", "8"], "perturb": None}
    settings |= {"config": "/home/someone/light_real.py", "pretraining": 0.5, "loss_weight": 1, "schedule": "constant"}
    out.mkdir(parents=True, exist_ok=True)
    stages = []
    for part in parts:
        for budget, folder in (("iterations", "segmenters"), ("epochs", "segmenters-epochs")):
            for arm in described:
                if budget not in budgets or (budget == "epochs" and arm["kind"] in ("real", "synthetic")):
                    continue
                for seed in seeds:
                    work_dir = out / part["name"] / folder / f"{arm['name']}-seed{seed}"
                    miou = score(part["name"], budget, arm["name"], seed)
                    write_test(work_dir, miou, classes, rng)
                    if extras:
                        write_log(work_dir, miou, 600 if budget == "iterations" else 1200, rng)
                    command = f"python tools/train_segmenter.py {part['name']}/configs/{arm['name']}.py --seed {seed}"
                    stages.append({"name": str(work_dir.relative_to(out)), "title": f"Segmenter {work_dir.name}"})
                    stages[-1] |= {"command": command, "seconds": 90.0, "starts": 1, "finished": True}
        if extras:
            part |= {"generator_sha256": f"{part['fraction']:g}".encode().hex() * 8, "generator_images": part["images"]}
            for name in ("shards/samples.png", "filtered/sheet.png"):
                file = out / part["name"] / name
                file.parent.mkdir(parents=True)
                Image.fromarray(rng.integers(0, 255, (12, 32, 3), np.uint8)).resize((960, 360), 0).save(file)
            (out / part["name"] / "filtered" / "filter.json").write_text(json.dumps(describe_filter(classes)))
            write_manifest(out / part["name"] / "shards", part["images"])
    (out / "settings.json").write_text(json.dumps(settings))
    (out / "timings.json").write_text(json.dumps({"machine": describe_machine(), "stages": stages}))
    return out


def describe_filter(classes: Sequence[str]) -> dict:
    settings = {
        "scorer": "segmenter",
        "tolerance": 1.25,
        "quantile": None,
        "window": 1,
        "real": {"root": "/home/someone/data"},
    }
    totals = {"samples": 1000, "kept": 810, "dropped": {"rejected": 190}}
    pixels, rejected = ({name: number for name in classes} for number in (1000, 43))
    return {
        "classes": list(classes),
        "settings": settings,
        "origin": {"checkpoint": "/home/someone/c.pth"},
        "totals": {**totals, "pixels": pixels, "rejected_pixels": rejected},
    }


def describe_arm(name: str) -> dict:
    kind = name.removesuffix("-filtered")
    title = TITLES[kind] + ("" if kind == name else ", filtered")
    return {"name": name, "title": title, "kind": kind, "filtered": kind != name}


def write_test(work_dir: Path, miou: float, classes: Sequence[str], rng: np.random.Generator) -> None:
    work_dir.mkdir(parents=True)
    offsets = np.linspace(20, -20, len(classes)) + rng.normal(0, 1, len(classes))
    iou = {name: round(float(np.clip(miou + offset, 0, 100)), 2) for name, offset in zip(classes, offsets, strict=True)}
    test = {
        "config": "/home/someone/c.py",
        "checkpoint": "/home/someone/c.pth",
        "images": 233,
        "mIoU": miou,
        "IoU": iou,
    }
    (work_dir / "test.json").write_text(json.dumps(test))


def write_log(work_dir: Path, miou: float, iterations: int, rng: np.random.Generator) -> None:
    log = work_dir / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    rows = [{"loss": 2 * 0.995**step + rng.uniform(0, 0.1), "step": step} for step in range(20, iterations + 1, 20)]
    rows += [{"mIoU": miou * (1 - 0.5 ** (step / 100)), "step": step} for step in range(100, iterations + 1, 100)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_manifest(shards: Path, label_maps: int) -> None:
    totals = {"shards": 1, "planned": 8 * label_maps, "by_status": {"ok": 8 * label_maps - 1, "bad_image": 1}}
    manifest = {
        "plan": {"label_maps": label_maps, "samples_per_map": 8, "seed": 0},
        "totals": totals | {"bytes": 10**6},
    }
    (shards / "shards.json").write_text(json.dumps(manifest))

"""The whole job on built-in data, by the project's own tools: data, GAN, shards, segmenters, report.

    python demo/run.py --out runs/demo

Each command is shown before it runs; it can be typed as it stands. The same call again goes on where it stopped.
"""

import argparse
import shlex
import sys
from pathlib import Path

from augment.report.write import write_report
from augment.stages import Stage, Timings, run_stages, short

SEGMENTER = "configs/segmenters/efficientnet_lite0_fpn_streets_{arm}.py"
DATA = ("--train", "80", "--val", "20", "--test", "80", "--height", "64", "--width", "96")
SIZE = {"SEG_HEIGHT": "64", "SEG_WIDTH": "96"}
ABOUT = (
    "The “real” photos of this demo are street scenes drawn by code, so that nothing has to be downloaded; all sizes "
    "are chosen for some eight minutes on two CPU cores."
)


def plan(arguments: argparse.Namespace) -> list[Stage]:
    """The stages of the demo, in order."""
    out = Path(short(arguments.out.absolute()))
    data, gan, shards = out / "data", out / "gan", out / "shards"
    meta, generator, manifest = data / "meta.json", gan / "generator.safetensors", shards / "shards.json"
    stages = [
        Stage(
            "data",
            "Draw the street scenes",
            ("demo/make_data.py", "--out", f"{data}", *DATA, *arguments.data_options),
            product=meta,
        ),
        Stage(
            "gan",
            "Train the GAN",
            ("tools/train_gan.py", "experiment=demo", f"data.root={data}", f"out={gan}", *arguments.gan_options),
            product=generator,
            inputs=(meta,),
        ),
        Stage(
            "shards",
            "Make synthetic photos",
            (
                *("tools/synthesize.py", "--generator", f"{gan}", "--labels", f"{data / 'train'}"),
                *("--samples", f"{arguments.samples}", "--out", f"{shards}"),
            ),
            product=manifest,
            inputs=(meta, generator),
        ),
    ]
    environment = {**SIZE, "SEG_ITERS": f"{arguments.iterations}"}
    for seed in arguments.seeds:
        for arm, images in (("real", "real images"), ("mixed", "real and synthetic images")):
            work_dir = out / "segmenters" / f"{arm}-seed{seed}"
            stages.append(
                Stage(
                    work_dir.name,
                    f"Segmenter on {images}, seed {seed}",
                    (
                        *("tools/train_segmenter.py", SEGMENTER.format(arm=arm), "--data-root", f"{data}"),
                        *(("--shards", f"{shards}") if arm == "mixed" else ()),
                        *("--seed", f"{seed}", "--work-dir", f"{work_dir}", "--resume", "--test"),
                    ),
                    product=work_dir / "test.json",
                    inputs=(meta, manifest) if arm == "mixed" else (meta,),
                    environment=environment,
                    skip=True,
                )
            )
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/demo"), help="folder of everything (default: %(default)s)")
    add("--seeds", type=int, nargs="+", default=[0, 1], help="of the segmenters, each in both arms (default: 0 1)")
    add("--samples", type=int, default=4, help="synthetic photos per label map (default: %(default)s)")
    add("--iterations", type=int, default=300, help="of each segmenter's training (default: %(default)s)")
    quoted = {"type": shlex.split, "default": [], "metavar": "'OPTION …'"}
    add("--data-options", help="more of demo/make_data.py, as in --data-options='--train 40 --seed 1'", **quoted)
    add("--gan-options", help="more of tools/train_gan.py, as in --gan-options='run.total_kimg=20'", **quoted)
    arguments = parser.parse_args()
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        run_stages(plan(arguments), Timings(arguments.out / "timings.json"))
        page, job = write_report(arguments.out, about=ABOUT)
    except (ValueError, OSError) as error:  # ChildProcessError is one
        sys.exit(f"error: {error}")
    print(f"\n── Report ──\n{job['result']['sentence']}\nopen it in a browser: {page}")


if __name__ == "__main__":
    main()

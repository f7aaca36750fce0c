"""Check finished shards: hashes, members, rows, label maps; with the generator, whether it makes them again."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from endings import plain_ending

from augment.storage import Folder, is_local, open_folder, write_text
from augment.verify.finding import KINDS, NOTES, Finding
from augment.verify.resynthesize import Resynthesis, check_generator, resynthesize
from augment.verify.walk import verify
from dpsims.hardware import pick_device
from dpsims.sample import load_generator

EXAMPLE = """
example: all that can be told from the shards alone; then also whether this generator makes them, by four of each shard

  python tools/verify_shards.py runs/shards
  python tools/verify_shards.py runs/shards --generator runs/gan-generic --resynthesize 4

The exit status is 0 where the shards are sound, 1 where there are faults, and 2 where nothing could be checked.

made again: the same bits come out on the same kind of device, by the same versions of torch and Pillow, with the batch
size, and on a CPU the OMP_NUM_THREADS, of the run that made the shards. For that the sample's whole batch is made.

what is found:
""" + "\n".join(f"  {kind:<12} {about}" for kind, about in KINDS.items())
TOLERANCE_HELP = """\
mean absolute difference between an image and the one that is made again that is no fault, in grey levels of 255
(default: %(default)s. CamVid at 96x128, 240 images: another batch size changed an image by at most 1.4 in bf16 and by
0.01 in fp32, the other precision by 1.6; another generator by tens, another noise by 9.5 in the median. But one noise
in a hundred changed it by less than 2: where device and batch size are those of the run, 0 is the sharper test)"""
SHOWN = 3  # of each kind


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("shards", metavar="DIR", help="folder of the shards, or its URL (s3://…)")
    add("--generator", type=Path, help="run folder or generator.safetensors that should have made them")
    add("--resynthesize", type=int, default=0, metavar="K", help="make K samples of each shard again, and compare")
    add("--tolerance", type=float, default=2.0, help=TOLERANCE_HELP)
    add("--seed", type=int, default=0, help="other seed, other samples to make again (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="of the run that made the shards (default: %(default)s)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    add("--threads", type=int, default=os.cpu_count(), help="that decode (default: one per core, %(default)s)")
    add("--all", action="store_true", help=f"print all findings, not only {SHOWN} of each kind")
    add("--out", type=Path, metavar="FILE", help="write all findings to this JSON file")
    arguments = parser.parse_args()
    for name, least in (("resynthesize", 0), ("tolerance", 0), ("batch_size", 1), ("threads", 1), ("seed", 0)):
        if not getattr(arguments, name) >= least:
            parser.error(f"--{name.replace('_', '-')} is at least {least}, not {getattr(arguments, name)}")
    if arguments.resynthesize and arguments.generator is None:
        parser.error(f"--resynthesize {arguments.resynthesize} needs --generator")
    return arguments


def run(arguments: argparse.Namespace) -> bool:
    """Whether the shards are sound."""
    folder = open_folder(arguments.shards)
    if arguments.out is not None:
        check_out(arguments.out, folder)
    snapshot, settings = None, None
    if arguments.generator is not None:
        device = pick_device(arguments.device)
        snapshot = load_generator(arguments.generator, device if arguments.resynthesize else "cpu")
        settings = check_generator(folder, snapshot) if arguments.resynthesize else None
    start = time.perf_counter()
    verdict = verify(folder, threads=arguments.threads, generator_sha256=snapshot and snapshot.sha256, progress=True)
    seconds = time.perf_counter() - start
    print(f"looked at: {verdict.images:,} images in {verdict.shards} shards, {verdict.images / seconds:,.0f} images/s")

    findings, again = verdict.findings, Resynthesis()
    if settings is not None:
        again = resynthesize(
            folder,
            snapshot,
            settings,
            per_shard=arguments.resynthesize,
            tolerance=arguments.tolerance,
            seed=arguments.seed,
            device=device,
            batch_size=arguments.batch_size,
            threads=arguments.threads,
            progress=True,
        )
        findings = [*findings, *again.findings]
        worst = f"; the worst differs by {again.worst[0]:.3g} grey levels in the mean: {again.worst[1]}"
        precision = "bf16" if settings.bf16 else "fp32"
        print(
            f"made again: {again.compared} images on {device} in {precision}, batch size {arguments.batch_size}: "
            f"{again.bit_equal} bit-equal{worst if again.worst[1] else ''}"
        )
        if again.bit_equal < again.compared:
            print("  the bits depend on device, versions, batch size and, on a CPU, the number of OpenMP threads")

    faults = [finding for finding in findings if finding.is_fault]
    print_findings(findings, everything=arguments.all)
    if arguments.out is not None:
        result = {
            "shards": arguments.shards,
            "sound": not faults,
            "images": verdict.images,
            "counts": dict(Counter(finding.kind for finding in findings)),
            "made_again": {"compared": again.compared, "bit_equal": again.bit_equal, "worst": again.worst[0]},
            "findings": [finding.to_dict() for finding in findings],
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.out, json.dumps(result, indent=1) + "\n")
        print(f"all findings: {arguments.out}")
    print(f"FAULTS: {len(faults)}" if faults else "sound")
    return not faults


def check_out(out: Path, shards: Folder) -> None:
    """See that the findings can be written, and over nothing of the shards."""
    if out.is_dir():
        raise ValueError(f"--out {out} is to be a file, such as {out / 'verdict.json'}, and is a folder")
    if is_local(shards) and out.resolve().parent == shards.resolve():
        raise ValueError(f"--out {out} is to lie outside of the shards, which stay as they are")


def print_findings(findings: list[Finding], *, everything: bool) -> None:
    """A table of counts by kind, and the findings, faults first."""
    counts = Counter(finding.kind for finding in findings)
    for kind, about in KINDS.items():
        if kind in counts:
            print(f"{counts[kind]:>8,}  {kind:<12} {about}{'' if kind not in NOTES else ', no fault'}")
    ordered = sorted(findings, key=lambda finding: not finding.is_fault)
    shown = ordered if everything else first_of_each(ordered)
    for finding in shown:
        print(finding)
    if len(shown) < len(findings):
        print(f"… and {len(findings) - len(shown):,} more; --all prints them, --out FILE writes them")


def first_of_each(findings: list[Finding]) -> list[Finding]:
    """The first few of each kind: a thousand faults of one kind do not hide another one."""
    seen: Counter[str] = Counter()
    shown = []
    for finding in findings:
        seen[finding.kind] += 1
        if seen[finding.kind] <= SHOWN:
            shown.append(finding)
    return shown


def main() -> None:
    arguments = parse_arguments()
    with plain_ending():
        sys.exit(0 if run(arguments) else 1)


if __name__ == "__main__":
    main()

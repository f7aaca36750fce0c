"""Make shards of (image, label map) pairs from label maps with a trained generator. The same command resumes."""

import argparse
import dataclasses
import os
import shutil
import time
from pathlib import Path

import torch
from endings import plain_ending
from synthesize_options import check_options, parse_arguments

from augment.engines import Work, make_in_processes, worker_devices
from augment.factory import Settings, reader_of
from augment.order import choose_label_maps, choose_reading, read_recipe, share_out
from augment.ordered_map import thread_pool
from augment.perturb.pipeline import Perturbation
from augment.plan import Plan
from augment.reading import Reading
from augment.report.sheet import contact_sheet, preview_sheet
from augment.report.wording import duration, size
from augment.shards import OK, check_manifest, committed_shards, first_failure, open_manifest, read_stats
from augment.storage import Folder, is_local, new_file, open_folder
from augment.survey import survey
from augment.synthesize import Part, check_instances, describe, find_part, finish
from dpsims.grid import save_grid
from dpsims.hardware import pick_device, use_bf16
from dpsims.sample import Snapshot, load_generator
from dpsims.spread import spread
from dpsims.stop import stop_by_terminate

PREVIEW_MAPS, PREVIEW_SAMPLES = 6, 3
PROBE, PATIENCE = 5, 30.0  # batches, and seconds, that an estimate takes at most
MARGIN = 1.1  # of free space over what the shards are estimated to take
TAR_BYTES = 3 * 512 + 3 * 256  # headers and padding of a sample's files


def run(arguments: argparse.Namespace) -> None:
    check_options(arguments)
    part = find_part(arguments.part)
    here, there = find_devices(arguments)
    folder = open_folder(arguments.out)
    snapshot = load_generator(arguments.generator, here)
    work, reading = plan_work(arguments, folder, snapshot, use_bf16(there, arguments.precision))
    if arguments.preview is not None:
        preview(arguments.preview, work, snapshot, here)
        return
    perturbation = work.perturbation(snapshot)
    description = describe(snapshot, work.plan, work.settings, perturbation)
    check_manifest(folder, description)

    missing = set(range(work.plan.num_shards)) - set(committed_shards(folder))
    mine = missing & set(part.shards(work.plan))
    before = made_so_far(folder)
    loud = os.environ.get("RANK", "0") == "0"  # of torchrun's ranks the first one speaks
    if loud:
        print_plan(work, reading, snapshot, there, part)
    if loud and mine:
        alone = bool(arguments.ray) or (arguments.workers or 1) > 1
        estimate(work, snapshot, here, perturbation, part, missing=missing, folder=folder, alone=alone)
    if arguments.dry_run:
        return

    open_manifest(folder, description)
    totals = None
    if not mine:
        pass
    elif arguments.ray:
        from augment.ray_engine import make_by_ray

        address = None if arguments.ray == "local" else arguments.ray
        make_by_ray(work, part, address=address, workers=arguments.workers, device=there)
    elif (arguments.workers or 1) > 1:
        make_in_processes(work, worker_devices(there, arguments.workers), part)
    else:
        totals = work.make(part, snapshot, there, perturbation, progress=loud)
    totals = totals or finish(folder, work.plan, description)
    if totals is None:
        print(f"made: part {part.index} of {part.count}; the last part to end adds up all of them")
        return
    report(folder, work, snapshot, totals, before)


def find_devices(arguments: argparse.Namespace) -> tuple[torch.device, torch.device]:
    """Of this process, and of those that make the shards: with a Ray cluster, the two may differ."""
    if arguments.ray in (None, "local"):
        device = pick_device(arguments.device)
        return device, device
    from augment.ray_engine import cluster_device

    if arguments.device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device {arguments.device}: with --ray {arguments.ray} it is auto, cpu or cuda")
    here = pick_device("auto")
    there = cluster_device(arguments.ray) if arguments.device == "auto" else torch.device(arguments.device)
    if here.type != there.type and arguments.precision == "auto":
        raise ValueError(
            f"--ray {arguments.ray} computes on {there.type}, this process on {here.type}, which does not know "
            "what is fast: --precision is to be bf16 or fp32"
        )
    return here, there


def plan_work(arguments: argparse.Namespace, folder: Folder, snapshot: Snapshot, bf16: bool) -> tuple[Work, Reading]:
    """What is to be made, from the options, and how the label maps' ids are read.

    Looks at all label maps where the plan depends on what they hold.
    """
    place, sources = choose_label_maps(
        arguments.labels,
        arguments.split,
        arguments.layout,
        arguments.generator,
        arguments.allow_split,
        objects=snapshot.instances or arguments.perturb is not None,
    )
    reading = choose_reading(arguments.label_space, place, sources, arguments.generator, snapshot.space)
    sources = sources[: arguments.max_maps]
    check_instances(snapshot, sources)
    space = dataclasses.replace(snapshot.space, things=reading.space.things or snapshot.space.things)
    recipe = read_recipe(arguments.perturb, space) if arguments.perturb else None
    settings = Settings(
        image_format=arguments.format,
        quality=95 if arguments.quality is None and arguments.format != "png" else arguments.quality,
        bf16=bf16,
        raw_to_id=reading.space.raw_to_id,
    )
    found, budget = None, arguments.budget
    if recipe is not None or (budget or "").isdecimal():
        reader = reader_of(snapshot, settings, perturbed=recipe is not None)
        found = survey(sources, reader, recipe, threads=arguments.threads, progress=True)
    counts = [arguments.samples or 8] * len(sources)
    if budget is not None:
        counts = share_out(budget, arguments.target, sources, found, snapshot.space)
    kept = [index for index, count in enumerate(counts) if count]
    plan = Plan(
        [sources[index] for index in kept],
        [counts[index] for index in kept],
        shard_size=arguments.shard_size,
        seed=arguments.seed,
        variants=(arguments.variants or max(counts)) if recipe is not None else 1,
    )
    return Work(
        generator=arguments.generator.absolute(),
        plan=plan,
        folder=str(folder.absolute() if is_local(folder) else folder),
        settings=settings,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        recipe=recipe,
        found=found if recipe is not None else None,
    ), reading


def print_plan(work: Work, reading: Reading, snapshot: Snapshot, device: torch.device, part: Part) -> None:
    plan = work.plan
    splits = ", ".join(sorted({source.split or "no split" for source in plan.sources}))
    fewest, most = min(plan.counts), max(plan.counts)
    counts = f"{most}" if fewest == most else f"{fewest} to {most}"
    lines = [
        f"{len(plan.sources)} label maps ({splits}) × {counts} samples = {len(plan)} images",
        f"label space of their files: {reading.name} ({reading.reason})",
        f"of height {snapshot.height} and width {snapshot.width} in {plan.num_shards} shards",
        f"generator {snapshot.sha256[:12]} of {snapshot.images_seen} images seen, on {device} in "
        f"{'bf16' if work.settings.bf16 else 'fp32'}",
    ]
    if work.recipe is not None:
        versions = f"{min(plan.variants, most)} versions" if min(plan.variants, most) > 1 else "1 version"
        names = ", ".join(dict.fromkeys(name for name, _ in work.recipe.operations))
        lines.append(f"{versions} of each label map: {names}")
    if part.count > 1:
        lines.append(f"part {part.index} of {part.count}: {len(part.shards(plan))} of the shards")
    print("plan: " + "\n      ".join(lines), flush=True)


def preview(file: Path, work: Work, snapshot: Snapshot, device: torch.device) -> None:
    """Draw some of the label maps with what would be made of them."""
    sources = spread(work.plan.sources, PREVIEW_MAPS)
    counts = [PREVIEW_SAMPLES] * len(sources)
    plan = Plan(sources, counts, shard_size=sum(counts), seed=work.plan.seed, variants=PREVIEW_SAMPLES)
    with thread_pool(work.threads) as pool:
        factory = dataclasses.replace(work, plan=plan).factory(snapshot, device, pool, work.perturbation(snapshot))
        samples, perturbed = factory.make([0]), work.recipe is not None
        rows = preview_sheet(samples, snapshot.space, sources, factory.reader, perturbed=perturbed)
    if not rows:
        raise ValueError(f"none of {len(sources)} label maps could be used, such as {sources[0].place}")
    file.parent.mkdir(parents=True, exist_ok=True)
    save_grid(file, rows)
    print(f"look at it: {file} (label map | {'its perturbed version | sample, ' if perturbed else 'samples, '}…)")


def estimate(
    work: Work,
    snapshot: Snapshot,
    device: torch.device,
    perturbation: Perturbation | None,
    part: Part,
    *,
    missing: set[int],
    folder: Folder,
    alone: bool,
) -> None:
    """Make some images to see how long the part's missing shards take, and how much room all missing ones.

    Args:
        alone: others will do a part of that work.

    Raises:
        ValueError: there is not so much room.
    """
    plan, mine = work.plan, missing & set(part.shards(work.plan))
    images = sum(plan.samples_of(shard) for shard in mine)
    samples, start = [], time.perf_counter()
    with thread_pool(work.threads) as pool:
        factory = work.factory(snapshot, device, pool, perturbation)
        for sample in factory.make(sorted(mine)):
            samples.append(sample)
            now = time.perf_counter()
            if len(samples) == work.batch_size:
                warm = now  # what is slow at the first time is behind
            if len(samples) == PROBE * work.batch_size or (len(samples) > work.batch_size and now > start + PATIENCE):
                break
    if len(samples) > work.batch_size:
        seconds = (now - warm) / (len(samples) - work.batch_size)
    else:
        seconds = (now - start) / len(samples)
    made = [sum(map(len, sample.members.values())) + TAR_BYTES for sample in samples if sample.members]
    if not made:
        return  # bad label maps; the rest may be better
    room = sum(plan.samples_of(shard) for shard in missing) * sum(made) / len(made)
    whose = f" of one process alone, on {device}" if alone else f" for part {part.index}" if part.count > 1 else ""
    taken = f"{duration(images * seconds)}{whose}, and {size(room)}{' of all parts' if part.count > 1 else ''}"
    print(f"      about {taken}, by {len(samples)} images that were made now")
    if is_local(folder):
        place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(place).free
        if free < MARGIN * room:
            raise ValueError(f"--out {folder}: {size(free)} are free there, about {size(MARGIN * room)} are needed")


def report(folder: Folder, work: Work, snapshot: Snapshot, totals: dict, before: int) -> None:
    """What was made, what failed, where to look."""
    sources = {source.source_key: source for source in work.plan.sources} if work.recipe is not None else None
    rows = contact_sheet(folder, snapshot.space, sources, reader_of(snapshot, work.settings))
    sheet = folder / "samples.png"
    with new_file(sheet) as part:
        save_grid(part, rows)
    made = totals["by_status"][OK] - before
    print(f"made: {made} images; there already: {before}; {size(totals['bytes'])} in {totals['shards']} shards")
    for status, count in totals["by_status"].items():
        if status != OK:
            print(f"failed, {status}: {count} (their rows in {folder}/*.jsonl say why)")
    failure = first_failure(folder)
    if failure:
        print(f"  the first, {failure['source_key']}: {failure['error']}")
    if totals["perturbations"]:
        print(perturbation_table(totals["perturbations"]))
    print(f"look at them: {sheet}")
    last = f"{totals['shards'] - 1:05d}"
    print(f'read them:    webdataset.WebDataset("{folder}/{{00000..{last}}}.tar", shardshuffle=False)')


def perturbation_table(counts: dict[str, int]) -> str:
    """What was done to the label maps, what found nothing to do it to, what broke the rules."""
    rows = [["perturbation", "done", "nothing to do", "left out", "drawn again, because of"]]
    for name in dict.fromkeys(key.split(".")[0] for key in counts):
        start = f"{name}.redrawn."
        again = {key.removeprefix(start): count for key, count in counts.items() if key.startswith(start)}
        cells = [str(counts.get(f"{name}.{kind}", 0)) for kind in ("done", "nothing", "left_out")]
        rows.append([name, *cells, ", ".join(f"{reason} {count}" for reason, count in again.items())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def made_so_far(folder: Folder) -> int:
    return sum(read_stats(folder, shard)["by_status"].get(OK, 0) for shard in committed_shards(folder))


def main() -> None:
    arguments = parse_arguments(__doc__)
    stop_by_terminate()
    with plain_ending("stopped; finished shards stay, and the same command goes on", batch_size=arguments.batch_size):
        run(arguments)


if __name__ == "__main__":
    main()

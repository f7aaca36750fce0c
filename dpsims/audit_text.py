"""An audit and an estimate as text for a terminal."""

from collections.abc import Sequence

from dpsims.audit_result import ERROR, FAULTS, WARNING, Audit
from dpsims.config import DataConfig, TrainConfig
from dpsims.estimate import Rates, Work, images_at_once
from dpsims.hardware import pick_device, use_bf16
from dpsims.labels import LabelSpace

ALL_CLASSES, RAREST = 40, 20  # a label space of more classes than this is shown by its rarest


def describe_audit(audit: Audit, space: LabelSpace, data: DataConfig) -> str:
    """The splits, the classes, and the problems, errors first."""
    blocks = [_splits(audit, data), _classes(audit, space)]
    for severity in (ERROR, WARNING):
        problems = audit.of_severity(severity)
        blocks.append(f"{len(problems)} kinds of {severity}s" if problems else f"no {severity}s")
        for problem in problems:
            blocks[-1] += f"\n  {severity}, {problem.split}: {problem.count} {FAULTS[problem.kind][1]}"
            blocks[-1] += "".join(f"\n    {example}" for example in problem.examples)
            more = problem.count - len(problem.examples)
            blocks[-1] += f"\n    … and {more} more" if more else ""
    return "\n\n".join(blocks)


def _splits(audit: Audit, data: DataConfig) -> str:
    rows = [["split", "images", "label maps", "sound pairs", "size (w x h)", "ignored", "cut off", "instances"]]
    for split in audit.splits:
        small, large = ("x".join(map(str, size)) for size in (split.smallest, split.largest))
        instances = f"{split.num_instances} in {split.with_instances} images" if split.with_instances else "no maps"
        rows.append(
            [
                split.name,
                str(len(split.images)),
                str(len(split.labels)),
                str(len(split.keys)),
                small if small == large else f"{small} to {large}",
                f"{split.ignored:.1%}",
                f"{split.cut:.1%}",
                instances,
            ]
        )
    heading = f"{data.name}, layout {data.layout}, at {data.height}x{data.width} (height x width): {data.root}"
    return f"{heading}\n{_table(rows)}"


def _classes(audit: Audit, space: LabelSpace) -> str:
    """Per class and split: share of the pixels, images that hold it, and share of its pixels in instances."""
    train = audit.splits[0]
    labels = range(space.num_classes)
    heading = "classes: share of the labelled pixels, and images with it"
    if any(split.with_instances for split in audit.splits):
        heading += "; [share of its pixels that belong to an instance]"
    presence = [split.presence.sum(axis=0) for split in audit.splits]
    if space.num_classes > ALL_CLASSES:
        labels = [label for label in labels if presence[0][label]]
        labels = sorted(labels, key=lambda label: train.class_share[label])[:RAREST]
        heading += f"\nthe rarest of those in {train.name}, of {space.num_classes} classes (all of them in audit.json)"
    rows = [["class", *(split.name for split in audit.splits)]]
    for label in labels:
        row = [space.classes[label]]
        for split, images in zip(audit.splits, presence, strict=True):
            instances = f" [{split.instance_share[label]:4.0%}]" if split.with_instances else ""
            cell = f"{split.class_share[label]:7.3%} {images[label]:6d}{instances}"
            row.append(cell if images[label] else "–")
        rows.append(row)
    return f"{heading}\n{_table(rows)}"


def describe_work(work: Work, rates: Rates, config: TrainConfig, device_memory: int, fitting: int) -> str:
    """What a training would take, as an estimate.

    Args:
        fitting: images at once that the device would hold, if it does not hold as many as `config` has.
    """
    device = pick_device(config.run.device)
    precision = "bf16" if use_bf16(device, config.run.precision) else "fp32"
    seconds, size = rates.seconds(work), config.run.batch_size
    hours = config.run.total_kimg * 1000 / size * seconds / 3600
    nets = ", ".join(
        f"{name} {count / 1e6:.1f} M" + (f" + {work.frozen[name] / 1e6:.1f} M frozen" if work.frozen[name] else "")
        for name, count in work.trainable.items()
    )
    held, peak, total = (_size(count) for count in (work.held_bytes, work.peak_bytes, device_memory))
    flop_rate, byte_rate = rates.flops_per_second / 1e12, rates.bytes_per_second / 1e9
    lines = [
        f"estimate, not a measurement: training on {device} in {precision}, run.batch_size={size}",
        f"  parameters  {nets}",
        f"  memory      {peak} of tensors at the peak of a step, {held} of it all the time; the device has {total}",
        f"              with {images_at_once(config)} images at once; torchrun gives each GPU a share of the batch",
        f"  work        {work.flops / 1e12:.3g} TFLOP and {_size(work.moved_bytes)} read and written, a step",
        f"  time        {seconds:.{1 if seconds >= 10 else 2}f} s a step, {size / seconds:.3g} images/s; "
        f"{_duration(hours)} for run.total_kimg={config.run.total_kimg:g}",
        f"              at {flop_rate:.3g} TFLOP/s and {byte_rate:.3g} GB/s, measured now (an efficiency of "
        f"{rates.efficiency(work):.2f}); one device, no loading of data",
    ]
    if work.peak_bytes > device_memory:
        advice = f"about run.micro_batch={fitting} would" if fitting else "one image at a time would not, either"
        if not config.run.activation_checkpointing:
            advice += "; run.activation_checkpointing=true takes less memory and more time"
        lines.append(f"  warning     this does not fit into the device; {advice}")
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _size(count: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e6:.0f} MB"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.0f} days"
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.0f} minutes"

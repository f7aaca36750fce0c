"""A walk over finished shards that holds every byte and every row against what the others say of it."""

from dataclasses import dataclass

from tqdm import tqdm

from augment.shards import MANIFEST, OK, differences, total_of
from augment.storage import Folder
from augment.verify.across import Across
from augment.verify.finding import Finding
from augment.verify.manifest import check_files, describe_folder, shards_among
from augment.verify.shard import ShardCheck


@dataclass(frozen=True)
class Verdict:
    """What a walk found.

    Attributes:
        shards: that the folder should hold.
        images: whose files were looked at.
    """

    shards: int
    images: int
    findings: list[Finding]

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_fault]


def verify(folder: Folder, *, threads: int, generator_sha256: str | None = None, progress: bool = False) -> Verdict:
    """Look at all shards in a folder: one after the other, each sample in a thread.

    Args:
        generator_sha256: of the generator that is said to have made them.
        progress: show a bar, on a terminal.

    Raises:
        ValueError: there is nothing that looks like shards.
    """
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    if MANIFEST not in names and not shards_among(names):
        raise ValueError(f"{folder} holds no shards: neither {MANIFEST} nor a 00000.tar is there")
    description, findings = describe_folder(folder)
    num_shards = description.num_shards()
    if num_shards is None:
        num_shards = max(shards_among(names), default=-1) + 1
    findings += check_files(names, num_shards)
    made_by = description.common.generator_sha256
    if generator_sha256 is not None and made_by is not None and made_by != generator_sha256:
        message = f"{MANIFEST} names the generator {made_by[:12]}, but the one that is given is {generator_sha256[:12]}"
        findings.append(Finding(None, None, "generator", message))

    across, stats, whole = Across(), [], True
    with tqdm(total=description.plan.get("images"), unit="img", disable=None if progress else True) as bar:
        for number in range(num_shards):
            bar.set_description(f"shard {number + 1}/{num_shards}")
            shard = ShardCheck(folder, number, names, description.common)
            checked = shard.check_rows()
            shard.findings += filter(None, (across.take_row(it.row) for it in checked))
            for it in shard.check_tar(checked, threads):
                if it.row["status"] == OK:
                    across.take_image(it)
                bar.update()
            findings += shard.findings
            stats += [] if shard.stats is None else [shard.stats]
            whole = whole and shard.whole

    if whole:
        findings += across.against(description.plan)
    if description.totals is not None and len(stats) == num_shards:
        changed = differences(description.totals, total_of(stats))
        if changed:
            message = f"the totals in {MANIFEST} are not the sums over the shards ({'; '.join(changed)})"
            findings.append(Finding(None, None, "manifest", message))
    findings += across.alike()
    return Verdict(num_shards, across.images, findings)

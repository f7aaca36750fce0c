"""What an inspection of shards finds: faults, and notes that need not be faults."""

from dataclasses import asdict, dataclass

KINDS = {
    "manifest": "shards.json is missing, broken or not finished, or its totals are not the sums over the shards",
    "plan": "the rows are not those of the plan in shards.json",
    "missing": "a file of a shard, or a member of a tar, is not there",
    "stray": "a tar, manifest or commit mark that is not of the plan, or a member that no row names",
    "leftover": "an unfinished file that a stopped process left behind (a note)",
    "stats": "00000.stats.json is broken, or its counts are not those of the rows",
    "size": "a tar is not as long as its commit mark says",
    "sha256": "a tar or manifest is not the file that its commit mark names",
    "tar": "a tar is cut off or broken",
    "row": "a row of 00000.jsonl that cannot be read or contradicts itself",
    "place": "a member does not lie where its row says",
    "crc32": "the bytes of a member were changed",
    "key": "a key is not the one of its place in the plan",
    "duplicate": "two samples have the same key, or are the same sample of the same label map",
    "seed": "a seed does not follow from the plan's seed",
    "meta": "KEY.json is broken or contradicts its row",
    "generator": "made by another generator than shards.json, or --generator, names",
    "label": "a label map is broken, of another size, has ids outside the label space, or was swapped",
    "image": "an image is broken or of another size or format",
    "pixels": "the pixel counts in 00000.stats.json are not those of the label maps",
    "alike": "images that are the same bytes (a note: a generator without variety)",
    "resynthesis": "the generator makes another image from the label map and the seed",
}
NOTES = ("leftover", "alike")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        shard: its number; None if it is of the whole.
        key: of a sample; None if it is of the shard.
        kind: of `KINDS`.
        message: a sentence with names and numbers.
    """

    shard: int | None
    key: str | None
    kind: str
    message: str

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind

    @property
    def is_fault(self) -> bool:
        return self.kind not in NOTES

    def to_dict(self) -> dict:
        return {**asdict(self), "fault": self.is_fault}

    def __str__(self) -> str:
        place = self.key or ("all" if self.shard is None else f"{self.shard:05d}")
        return f"{place}  {self.kind}: {self.message}"

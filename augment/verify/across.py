"""What can only be seen across all shards: samples that are there twice, images that are alike, the plan as a whole."""

import hashlib
import json

from augment.shards import MANIFEST, differences
from augment.synthesize import digest
from augment.verify.finding import Finding
from augment.verify.sample import DIGEST, Checked

SHOWN = 4  # of what a message lists


class Across:
    """Takes the rows in their order; keeps a short hash of each sample and of each image."""

    def __init__(self) -> None:
        self.rows = self.images = 0
        self._maps: list[tuple[str, str | None]] = []  # source key and split, in the order of the rows
        self._counts: list[int] = []  # samples of each of them
        self._keys: dict[bytes, str] = {}  # hash of (source key, variant, sample index) → key
        self._pictures: dict[bytes, str] = {}  # hash of the image → key
        self._alike: list[tuple[str, str]] = []

    def take_row(self, row: dict) -> Finding | None:
        self.rows += 1
        if self._maps and self._maps[-1] == (row["source_key"], row["split"]):
            self._counts[-1] += 1
        else:
            self._maps.append((row["source_key"], row["split"]))
            self._counts.append(1)
        sample = [row["source_key"], row["variant"], row["sample_index"]]
        hashed = hashlib.blake2b(json.dumps(sample).encode(), digest_size=DIGEST).digest()
        if hashed not in self._keys:
            self._keys[hashed] = row["key"]
            return None
        message = f"it is sample {sample[2]} of {sample[0]!r} (variant {sample[1]}), and so is {self._keys[hashed]}"
        return Finding(row["shard"], row["key"], "duplicate", message)

    def take_image(self, checked: Checked) -> None:
        self.images += 1
        key = checked.row["key"]
        if checked.image_digest and self._pictures.setdefault(checked.image_digest, key) != key:
            self._alike.append((self._pictures[checked.image_digest], key))

    def alike(self) -> list[Finding]:
        """A note, if there are images that are the same."""
        if not self._alike:
            return []
        examples = ", ".join(f"{second} = {first}" for first, second in self._alike[:SHOWN])
        message = f"{len(self._alike)} of {self.images} images are the same bytes as another one ({examples})"
        return [Finding(None, None, "alike", message)]

    def against(self, plan: dict) -> list[Finding]:
        """Hold all rows against the plan; they are to be complete."""
        even = len(set(self._counts)) == 1
        found = {
            "images": self.rows,
            "label_maps": len(self._maps),
            "label_names_sha256": digest(self._maps),
            "samples_per_map": self._counts[0] if even else f"sha256:{digest(self._counts)}",
        }
        told = {name: plan[name] for name in found if name in plan}
        changed = differences(told, {name: found[name] for name in told})
        if not changed:
            return []
        return [Finding(None, None, "plan", f"the plan in {MANIFEST} is not that of the rows ({'; '.join(changed)})")]

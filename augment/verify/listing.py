"""A tar's own listing, as far as it can be listed."""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512  # bytes that a tar pads its members to; two of zeros end it

Places = Mapping[str, tuple[int, int]]  # extension → (offset, size), of one key


@dataclass(frozen=True)
class Listing:
    """What a tar holds.

    Attributes:
        places: of the members, by key.
        end: of the last member that could be listed, in bytes.
        error: what is wrong with the tar.
    """

    places: Mapping[str, Places]
    end: int
    error: str | None


def list_tar(tar: Path) -> Listing:
    """List a tar; one that is broken is listed up to there."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    members, end, error = 0, 0, None
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                if extension in places.get(key, {}):
                    error = f"holds {member.name} twice"
                places.setdefault(key, {})[extension] = (member.offset_data, member.size)
                members += 1
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK
    except tarfile.TarError as problem:
        error = f"is cut off or broken: it can be listed up to its member {members} ({problem})"
    if error is None and not ends_at(tar, end):  # tarfile takes a header that it cannot read for the end
        what = f"at byte {end:,} is neither a header nor an end mark"
        error = f"is cut off or broken: it can be listed up to its member {members} ({what})"
    return Listing(places, end, error)


def ends_at(tar: Path, offset: int) -> bool:
    with open(tar, "rb") as stream:
        stream.seek(offset)
        return stream.read(2 * BLOCK) == bytes(2 * BLOCK)

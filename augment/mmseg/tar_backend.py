"""Byte ranges of tar files as mmengine files, so that stock mmseg transforms read shard members unchanged."""

import os
from functools import lru_cache
from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend

PREFIX = "tarspan"
MAX_OPEN = 64  # open shards per process


class _OpenTar:
    """A file descriptor that closes itself once nobody holds it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(maxsize=MAX_OPEN)
def _open_tar(path: str) -> _OpenTar:
    return _OpenTar(path)


def forget_open_tars() -> None:
    """Open every tar anew on its next read; a file that was replaced since would otherwise be read as it was."""
    _open_tar.cache_clear()


def span_uri(tar: Path | str, offset: int, size: int) -> str:
    """The name under which mmengine reads `size` bytes from `offset` on: `tarspan://TAR#OFFSET+SIZE`."""
    return f"{PREFIX}://{tar}#{offset}+{size}"


@register_backend(PREFIX, prefixes=PREFIX, force=True)
class TarSpanBackend(BaseStorageBackend):
    """Reads what `span_uri` names; mmengine picks it by the prefix.

    `pread` takes its position as an argument, so threads and forked workers may share a descriptor.
    """

    def get(self, filepath: str) -> bytes:
        tar, _, span = filepath.removeprefix(f"{PREFIX}://").rpartition("#")
        offset, size = (int(number) for number in span.split("+"))
        content = os.pread(_open_tar(tar).descriptor, size, offset)
        if len(content) != size:
            raise EOFError(f"{tar} ends {size - len(content)} bytes before the end of the member at {offset}+{size}")
        return content

    def get_text(self, filepath: str, encoding: str = "utf-8") -> str:
        return self.get(filepath).decode(encoding)

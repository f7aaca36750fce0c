"""Where shards lie: a local folder, or any place that fsspec reaches by a URL (s3://, gs://, sftp://, memory://, …)."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from upath import UPath

from dpsims.sample import replace

Folder = Path | UPath
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")  # what is uploaded there appears as a whole
HOST = re.sub(r"\W", "_", socket.gethostname())

_numbers = count()


def open_folder(place: str) -> Folder:
    """A folder by its path or URL.

    Raises:
        ValueError: a URL of a kind that is unknown, or whose package is not installed.
    """
    try:
        folder = UPath(place)
        return Path(folder) if folder.protocol in ("", "file", "local") else folder
    except (ValueError, ImportError) as error:
        raise ValueError(f"{place}: {error}") from None


def is_local(folder: Folder) -> bool:
    return isinstance(folder, Path)


@contextmanager
def new_file(final: Folder) -> Iterator[Path]:
    """A local file to write, which gets its final name when the block ends, and is gone if that fails.

    Until then it is called otherwise, by a name of this process alone: others may write the same file. A block that
    deletes it gives it up.
    """
    if not is_local(final):
        with TemporaryDirectory() as temporary:
            part = Path(temporary) / final.name
            yield part
            if part.exists():
                upload(part, final)
        return
    part = final.with_name(f"{final.name}.{HOST}-{os.getpid()}-{next(_numbers)}.part")
    try:
        yield part
        if part.exists():
            replace(part, final)
    finally:
        part.unlink(missing_ok=True)


def upload(file: Path, final: UPath) -> None:
    if final.protocol in OBJECT_STORES:
        final.fs.put_file(str(file), final.path)
    else:
        part = f"{final.path}.{HOST}-{os.getpid()}-{next(_numbers)}.part"
        final.fs.put_file(str(file), part)
        final.fs.mv(part, final.path)


def write_text(file: Folder, text: str) -> None:
    with new_file(file) as part:
        part.write_text(text, encoding="utf-8")


def read_json(file: Folder) -> Any:
    """Its content; a ValueError names a file that is not JSON, a FileNotFoundError one that is missing."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def sweep(folder: Folder) -> None:
    """Remove the unfinished files of processes of this machine that are gone."""
    for part in folder.glob("*.part") if is_local(folder) else []:
        match = re.search(r"\.(\w+)-(\d+)-\d+\.part$", part.name)
        if match and match[1] == HOST and not _alive(int(match[2])):
            part.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def local_file(file: Folder) -> Iterator[Path]:
    """The file itself where it is local, else a copy on this machine, gone when the block ends."""
    if is_local(file):
        yield file
        return
    with TemporaryDirectory() as temporary:
        copy = Path(temporary) / file.name
        file.fs.get_file(file.path, str(copy))
        yield copy

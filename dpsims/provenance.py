"""Which source a result comes from."""

import subprocess
from functools import cache
from pathlib import Path


@cache
def source_commit(file: Path = Path(__file__)) -> str | None:
    """The git commit that a source file is of, with a "+" where tracked files have changed since.

    None for an installed copy, though that may lie in a repository of its user's, and where there is no git.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+")
    except (OSError, subprocess.SubprocessError):
        return None

"""A script of tools/ as people call it, in this process."""

import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"


def run_tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, name: str, *options: object
) -> tuple[int, str, str]:
    """Its exit code and what it printed, (stdout, stderr)."""
    script = TOOLS / f"{name}.py"
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setattr(sys, "argv", [str(part) for part in (script, *options)])
    code = 0
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()

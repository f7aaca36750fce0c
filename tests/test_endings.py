import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from endings import plain_ending


@pytest.mark.parametrize(
    ("options", "why", "status", "text"),
    [
        ({}, ValueError("--images is 0"), 2, "error: --images is 0\n"),
        ({}, FileNotFoundError(2, "No such file", "a.json"), 2, "error: [Errno 2] No such file: 'a.json'\n"),
        ({}, ChildProcessError("stage 2 failed"), 2, "error: stage 2 failed\n"),
        ({"faults": (FloatingPointError,)}, FloatingPointError("not finite"), 2, "error: not finite\n"),
        (
            {"batch_size": 8},
            torch.OutOfMemoryError("tried to allocate"),
            2,
            "error: the GPU's memory is full; --batch-size is 8, try less\n",
        ),
        ({}, KeyboardInterrupt(), 130, "\nstopped\n"),
        ({"stopped": "stopped; shards stay"}, KeyboardInterrupt(), 130, "\nstopped; shards stay\n"),
    ],
)
def test_what_is_told_in_a_line_and_with_which_status(options, why, status, text, capsys):
    with pytest.raises(SystemExit) as end, plain_ending(**options):
        raise why
    assert end.value.code == status and capsys.readouterr() == ("", text)


@pytest.mark.parametrize(
    "why",
    [
        KeyError("a fault of the program"),
        RuntimeError("one that is no lack of memory"),
        FloatingPointError("in a tool that does not expect it"),
        torch.OutOfMemoryError("in a tool without --batch-size"),
    ],
    ids=lambda why: type(why).__name__,
)
def test_anything_else_keeps_its_traceback(why, capsys):
    with pytest.raises(type(why)) as end, plain_ending():
        raise why
    assert end.value is why and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("status", [0, 1])
def test_a_tool_says_by_itself_how_it_ends_well(status, capsys):
    with pytest.raises(SystemExit) as end, plain_ending(batch_size=8):
        sys.exit(status)
    assert end.value.code == status and capsys.readouterr() == ("", "")
    with plain_ending(batch_size=8):
        pass

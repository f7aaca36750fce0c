"""A filter in words and in a table."""

from filter_shards import SPACE, ByColour, run, write_planted
from gain_folder import CLASSES, describe_filter

from augment.filter.run import SUMMARY, read_decisions
from augment.report.filtering import class_table, filter_facts, filter_sheet


def test_facts_of_both_kinds_of_limits():
    summary = describe_filter(CLASSES)
    facts = filter_facts(summary)
    assert facts["limit of a pixel"] == "1.25 × the mean loss of the class on real images"
    assert facts["samples"] == "810 of 1,000 kept (rejected 190)" and facts["rejected pixels"] == "4.3 %"
    assert facts["rejected of sky"] == "4.3 %"
    summary["settings"] |= {"tolerance": None, "quantile": 0.95, "window": 9}
    told = "what 95 % of the real pixels of the class keep, losses averaged over 9 × 9 pixels"
    assert filter_facts(summary)["limit of a pixel"] == told


def test_a_class_that_no_real_image_shows_has_no_numbers():
    summary = describe_filter(CLASSES[:2])
    summary |= {"hardness": {"sky": 0.1234, "road": None}, "limits": {"sky": 0.15425, "road": None}}
    summary["totals"]["pixels"]["road"] = 0
    assert class_table(summary).splitlines() == [
        "  class  mean loss  limit  rejected",
        "  sky        0.123  0.154     4.3 %",
        "  road           –      –         –",
    ]


def test_the_picture_is_drawn_by_the_decisions_alone(tmp_path):
    """All processes of torchrun decide where all shards are filtered: another one may be writing filter.json anew."""
    shards, out = write_planted(tmp_path / "shards"), tmp_path / "out"
    run(shards, out, ByColour())
    (out / SUMMARY).unlink()
    rows = filter_sheet(shards, out, SPACE)
    white = [int((cells[2] == 255).all(axis=-1).sum()) for cells in rows]
    assert len(rows) == 8 and white == sorted(white, reverse=True) and white[0] == 16 and white[-1] == 0


def test_decisions_are_read_a_row_at_a_time(tmp_path):
    (tmp_path / "decisions.jsonl").write_text('{"key": "a"}\n{"key": ')
    assert next(read_decisions(tmp_path)) == {"key": "a"}

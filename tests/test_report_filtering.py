"""A filter in words and in a table."""

from gain_folder import CLASSES, describe_filter

from augment.report.filtering import class_table, filter_facts


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

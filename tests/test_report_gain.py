"""The report on arms of training: its numbers by hand, verdicts that hold after correction, and a page that says so."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest
from gain_folder import CLASSES, write_gain_folder
from scipy.stats import ttest_rel
from test_report import Loads

from augment.report.gain import gain_summary, read_gain, write_gain_report
from benchmarks.gain import main

REAL = (40.0, 41.0, 42.0)
CLEAR, UNCLEAR, WORSE, FLAT = (2.0, 2.1, 2.2), (1.0, 2.0, 3.0), (-2.0, -2.1, -2.2), (0.7, 0.7, 0.7)


def folder_of(out: Path, differences: dict[str, tuple[float, ...]], **options) -> Path:
    """One label fraction; every arm's differences to `REAL` by seed."""

    def score(part: str, budget: str, arm: str, seed: int) -> float:
        return round(REAL[seed] + (differences[arm][seed] if arm != "real" else 0.0), 2)

    seeds = range(len(next(iter(differences.values()))))
    return write_gain_folder(out, score, arms=("real", *differences), seeds=seeds, **options)


def result_of(out: Path, differences: dict[str, tuple[float, ...]]) -> tuple[dict, dict]:
    report = read_gain(folder_of(out, differences))
    return report["result"], report["fractions"][0]["budgets"]["iterations"]


def words(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", page)))


def test_an_arm_by_hand(tmp_path):
    _, arms = result_of(tmp_path, {"mixed": UNCLEAR})
    assert arms["real"]["values"] == [40.0, 41.0, 42.0] and arms["real"]["against_real"] is None
    assert (arms["real"]["mean"], arms["real"]["std"]) == (41.0, 1.0)
    mixed = arms["mixed"]
    assert mixed["values"] == [41.0, 43.0, 45.0] and (mixed["mean"], mixed["std"]) == (43.0, 2.0)
    against = mixed["against_real"]
    reference = ttest_rel([41, 43, 45], [40, 41, 42])
    assert against["differences"] == [1.0, 2.0, 3.0] and against["mean"] == 2.0
    assert against["p"] == pytest.approx(reference.pvalue) and against["p_holm"] == against["p"]
    assert against["interval_95"] == pytest.approx(list(reference.confidence_interval(0.95)))
    # 2 ± 4.303 / √3
    assert against["interval_95"] == pytest.approx([-0.484, 4.484], abs=1e-3)
    assert against["outside_noise"] is False and against["interval_leaves_out_0"] is False


def test_all_arms_of_a_table_are_corrected_for(tmp_path):
    middling = (1.0, 1.4, 1.8)  # p = 0.027 alone
    result, arms = result_of(tmp_path, {"mixed": middling, "pretrain": UNCLEAR, "on-the-fly": (0.1, -0.2, 0.2)})
    p = {name: arm["against_real"]["p"] for name, arm in arms.items() if name != "real"}
    holm = {name: arm["against_real"]["p_holm"] for name, arm in arms.items() if name != "real"}
    assert p["mixed"] < p["pretrain"] < p["on-the-fly"]
    assert holm == pytest.approx(
        {"mixed": 3 * p["mixed"], "pretrain": 2 * p["pretrain"], "on-the-fly": p["on-the-fly"]}
    )
    assert p["mixed"] < 0.05 < holm["mixed"]
    against = arms["mixed"]["against_real"]
    assert against["interval_leaves_out_0"] is True and against["outside_noise"] is False
    assert "“pretrain” at +2.00 points" in result["sentence"]  # the highest mean is the best arm, whatever its p


def test_classes_by_hand_and_none_where_there_is_no_iou(tmp_path):
    out = folder_of(tmp_path, {"mixed": UNCLEAR})
    for arm, ious in (("real", (50.0, 51.0, None)), ("mixed", (52.0, None, 55.0))):
        for seed, iou in enumerate(ious):
            file = out / "100" / "segmenters" / f"{arm}-seed{seed}" / "test.json"
            test = json.loads(file.read_text())
            test["IoU"] |= {"sky": iou, "pole": None}
            file.write_text(json.dumps(test))
    report = read_gain(out)
    arms = report["fractions"][0]["budgets"]["iterations"]
    sky = arms["mixed"]["classes"]["sky"]
    assert sky == {"values": [52.0, None, 55.0], "mean": 53.5, "differences": [2.0, None, None], "difference": 2.0}
    pole = arms["mixed"]["classes"]["pole"]
    assert pole["mean"] is None and pole["difference"] is None
    assert any("mean IoU is not over as many classes everywhere" in doubt for doubt in report["doubts"])
    write_gain_report(out)  # a page with dashes


@pytest.mark.parametrize(
    ("differences", "verdict", "headline", "said"),
    [
        (CLEAR, "gain", "+2.1 mIoU points, outside noise", ", a gain outside noise."),
        (WORSE, "loss", "−2.1 mIoU points, outside noise", ", a loss outside noise."),
        (UNCLEAR, "noise", "+2.0 mIoU points, inside noise", "interval −0.48 to +4.48; p = 0.074), inside noise."),
        (FLAT, "no spread", "+0.7 mIoU points, not settled", "the same for every seed but for rounding, so that"),
        ((1.0, 3.0), "few seeds", "+2.0 mIoU points, not settled", ", which 2 seeds cannot tell from chance."),
        ((9.0,), "few seeds", "+9.0 mIoU points, not settled", ", which one seed cannot tell from chance."),
        ((0.0, 0.0, 0.0), "no spread", "±0.0 mIoU points, not settled", "at ±0.00 points, the same for every seed"),
    ],
)
def test_sentences_promise_what_the_seeds_hold(tmp_path, differences, verdict, headline, said):
    result, arms = result_of(tmp_path, {"mixed": differences})
    against = arms["mixed"]["against_real"]
    assert against["verdict"] == verdict and against["outside_noise"] is (verdict in ("gain", "loss"))
    assert result["headline"] == f"Synthetic images: {headline}"
    assert said in result["sentence"] and result["sentence"].count(". ") == 0  # one sentence
    page, sentence = write_gain_report(tmp_path)
    assert sentence == result["sentence"]
    assert sentence in words(page.read_text())


def test_the_best_of_several_arms_by_hand(tmp_path):
    result, _ = result_of(tmp_path, {"synthetic": (-9.0, -9.3, -9.5), "mixed": WORSE, "pretrain": (-0.9, -1.0, -1.16)})
    assert result["headline"] == "Synthetic images at best: −1.0 mIoU points, outside noise"
    p = ttest_rel([-0.9, -1.0, -1.16], [0, 0, 0]).pvalue  # the largest of three
    assert result["sentence"] == (
        "At equal iterations and over 3 seeds, the best of 3 arms against real images alone is, by mean IoU on 233 "
        "test images: with 100 % of the labels (367 images), “pretrain” at −1.02 points (95 % interval −1.35 to −0.69, "
        f"uncorrected; p = {p:.3f}, corrected for the choice), a loss outside noise."
    )


def full_score(part: str, budget: str, arm: str, seed: int) -> float:
    effect = {"real": 0.0, "synthetic": -9.0, "mixed": 1.0, "mixed-filtered": 2.0, "on-the-fly": 1.5}[arm]
    wobble = (7 * seed + 3 * len(arm) + len(part) + 5 * (budget == "epochs")) % 11 / 20
    return round({"100": 50.0, "25": 40.0, "5": 30.0}[part] + seed + effect + wobble, 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    arms = ("real", "synthetic", "mixed", "mixed-filtered", "on-the-fly")
    options = {"fractions": (1.0, 0.25, 0.05), "budgets": ("iterations", "epochs"), "extras": True}
    return write_gain_folder(tmp_path_factory.mktemp("gain"), full_score, arms=arms, **options)


def test_equal_epochs_are_against_the_same_real_trainings(whole):
    report = read_gain(whole)
    # 3 fractions × 3 seeds × (5 arms, and those 3 that have real images beside synthetic ones)
    assert report["trainings"] == {"finished": 72, "planned": 72, "missing": []} and report["test_images"] == 233
    for fraction in report["fractions"]:
        iterations, epochs = fraction["budgets"]["iterations"], fraction["budgets"]["epochs"]
        assert list(epochs) == ["real", "mixed", "mixed-filtered", "on-the-fly"]
        assert epochs["real"] == iterations["real"]
        values = [full_score(fraction["name"], "epochs", "mixed", seed) for seed in (0, 1, 2)]
        assert epochs["mixed"]["values"] == values
        assert epochs["mixed"]["against_real"]["differences"] == pytest.approx(
            [value - real for value, real in zip(values, iterations["real"]["values"], strict=True)]
        )
        assert (iterations["mixed"]["iterations"], epochs["mixed"]["iterations"]) == (600, 1200)
        assert iterations["mixed"]["val_mIoU"]["iteration"] == [100, 200, 300, 400, 500, 600]
    assert report["seconds"] == 72 * 90.0


def test_the_page_shows_everything_and_loads_nothing(whole):
    page = write_gain_report(whole)[0].read_text()
    report = json.loads((whole / "report.json").read_text())
    assert report == json.loads(json.dumps(read_gain(whole)))
    shown = words(page)
    for text in (
        report["result"]["headline"],
        "At equal epochs of real data",
        "What the seeds do not cover",
        "One GAN for each label fraction.",
        "One choice of the labelled images for each fraction below 100 %",
        "One test set of 233 images.",
        "1.25 × the mean loss of the class on real images",  # of the filter
        "--samples",  # of the settings
        report["machine"]["packages"]["torch"],
    ):
        assert text in shown, text
    assert "car &amp; &lt;van&gt;" in page and "<van>" not in page
    assert "someone" not in page + json.dumps(report)  # no paths of the machine that trained
    assert page.count("<svg ") == 2 + 2 * 3 + 3 + 2 * 3  # over fractions, differences, classes, curves
    loads = Loads(page)
    assert len(loads.images) == 6 and all(image.startswith("data:image/png") for image in loads.images)
    assert all(re.fullmatch(r"#\w+", target) for target in loads.other)  # marks within charts
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r"https?:|@import|url\((?!#)", page)


def test_the_summary_is_small_and_holds_every_seed(whole):
    summary = gain_summary(read_gain(whole))
    assert len(json.dumps(summary)) < 12_000
    assert list(summary["fractions"]) == ["100", "25", "5"] and summary["seeds"] == [0, 1, 2]
    mixed = summary["fractions"]["25"]["iterations"]["mixed"]
    assert mixed["values"] == [full_score("25", "iterations", "mixed", seed) for seed in (0, 1, 2)]
    report = read_gain(whole)["fractions"][1]["budgets"]["iterations"]["mixed"]
    assert mixed["difference"] == round(report["against_real"]["mean"], 4)
    assert mixed["interval_95"] == [round(end, 4) for end in report["against_real"]["interval_95"]]
    assert "difference" not in summary["fractions"]["25"]["iterations"]["real"]


def test_the_benchmark_of_a_comparison_is_its_summary(whole, tmp_path, capsys):
    main([str(whole), "--out", str(tmp_path / "gain.json")])
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "gain.json").read_text())
    (result,) = document["results"]
    setting = result.pop("setting")
    assert result == json.loads(json.dumps(gain_summary(read_gain(whole))))
    asked = json.loads((whole / "settings.json").read_text())
    assert setting["comparison"] == whole.name and setting["segmenter"] == "light_real"
    assert setting["schedule"] == "constant" and setting["share"] == asked["share"]
    assert list(setting["generator_images"]) == ["100", "25", "5"]
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none")])
    assert "none" in capsys.readouterr().err


def test_the_benchmark_takes_whole_comparisons_by_their_names(copied, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    with pytest.raises(SystemExit):
        main([str(copied), str(tmp_path / "other" / copied.name)])
    assert "different names" in capsys.readouterr().err
    (copied / "25" / "segmenters" / "mixed-seed1" / "test.json").unlink()
    with pytest.raises(SystemExit):
        main([str(copied)])
    assert "25/segmenters/mixed-seed1" in capsys.readouterr().err


@pytest.fixture
def copied(whole, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "gain"))


def test_an_unfinished_comparison_judges_no_unfinished_arm(copied):
    missing = ["100/segmenters/mixed-filtered-seed1/test.json"]
    missing += [f"25/segmenters/{arm}-seed2/test.json" for arm in ("real", "synthetic", "mixed")]
    for file in (*missing, *(path.relative_to(copied) for path in (copied / "5").glob("*/*/test.json"))):
        (copied / file).unlink()
    with pytest.raises(ValueError, match=r"100/segmenters/mixed-filtered-seed1/test\.json is missing"):
        write_gain_report(copied)
    page, sentence = write_gain_report(copied, partial=True)
    report = json.loads((copied / "report.json").read_text())
    assert report["trainings"]["finished"] == 72 - 4 - 24 and set(missing) < set(report["trainings"]["missing"])
    assert "44 of 72 trainings are finished." in words(page.read_text()) and sentence.startswith(
        "So far, after 44 of 72"
    )
    full, quarter, _ = report["fractions"]
    filtered = full["budgets"]["iterations"]["mixed-filtered"]
    assert filtered["against_real"]["seeds"] == [0, 2] and filtered["against_real"]["verdict"] == "unfinished"
    assert filtered["against_real"]["p_holm"] is None
    others = [full["budgets"]["iterations"][name]["against_real"] for name in ("synthetic", "mixed", "on-the-fly")]
    assert min(other["p_holm"] / other["p"] for other in others[:1]) == pytest.approx(4)  # all planned arms count
    assert full["best"]["iterations"] == "on-the-fly"  # of those that are finished
    assert "“on-the-fly”, the best of the 3 that are finished, at" in sentence
    # without all seeds of the real arm nothing is finished
    assert quarter["best"] == {"iterations": None, "epochs": None}
    assert "with 5 % of the labels (18 images), not known yet." in sentence


def test_nothing_finished_is_a_report_too(copied):
    for file in copied.glob("*/*/*/test.json"):
        file.unlink()
    (copied / "timings.json").unlink()
    page, sentence = write_gain_report(copied, partial=True)
    assert sentence.endswith("there is nothing yet to compare to real images alone.")
    assert "0 of 72 trainings are finished." in words(page.read_text())
    assert "Synthetic images: nothing to compare yet" in words(page.read_text())


def test_what_looks_wrong_is_told(copied):
    segmenters = copied / "25" / "segmenters"
    shutil.copy(segmenters / "mixed-seed0" / "test.json", segmenters / "mixed-seed1" / "test.json")
    shutil.copytree(segmenters / "mixed-seed0", segmenters / "mixed-seed9")
    settings = json.loads((copied / "settings.json").read_text())
    settings["fractions"][1]["generator_images"] = 367
    settings["fractions"][2]["generator_images"] = None
    settings["fractions"][0]["generator_init_from"] = "gan-ade"
    (copied / "settings.json").write_text(json.dumps(settings))
    began, seen, unknown, same, extra = read_gain(copied)["doubts"]
    assert "for 100 % of the labels began with the weights of another one (gan-ade)" in began
    assert "generator for 25 % of the labels was trained on 367 labelled images, but the real arm on 92" in seen
    assert "Nothing tells which images the generator for 5 % of the labels was trained on" in unknown
    assert same.startswith("25/segmenters/mixed-seed0 and 25/segmenters/mixed-seed1 have the same IoU in every class")
    assert extra.endswith("left out here: 25/segmenters/mixed-seed9.")
    page = words(write_gain_report(copied)[0].read_text())
    assert "Look at this first." in page and "25/segmenters/mixed-seed9" in page


def test_a_clean_comparison_has_no_doubts(whole):
    assert read_gain(whole)["doubts"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 200}, r"real-seed1 had 200 test images, but 100/segmenters/real-seed0 had 233"),
        ({"IoU": {"sky": 1.0}}, r"real-seed1/test\.json has the classes sky, but settings\.json sky, road"),
        ({"mIoU": None}, r"real-seed1/test\.json has no mIoU"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(tmp_path, change, message):
    out = folder_of(tmp_path, {"mixed": UNCLEAR})
    file = out / "100" / "segmenters" / "real-seed1" / "test.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        write_gain_report(out)


def test_iterations_that_should_be_equal_are_looked_at(copied):
    log = next((copied / "25" / "segmenters" / "mixed-seed1").glob("*/vis_data/scalars.json"))
    log.write_text(log.read_text() + json.dumps({"loss": 0.1, "step": 900}) + "\n")
    with pytest.raises(ValueError, match=r"25/segmenters/mixed-seed1 had 900 training iterations, but .* had 600"):
        write_gain_report(copied)


def test_a_log_that_was_cut_short_is_read_up_to_there(copied):
    log = next((copied / "25" / "segmenters" / "mixed-seed1").glob("*/vis_data/scalars.json"))
    whole = read_gain(copied)
    log.write_text(log.read_text() + '{"loss": 0.1, "st')
    assert read_gain(copied) == whole


def test_settings_are_looked_at(tmp_path):
    with pytest.raises(ValueError, match=r"settings\.json is missing"):
        write_gain_report(tmp_path)
    out = folder_of(tmp_path, {"mixed": UNCLEAR})
    settings = json.loads((out / "settings.json").read_text())
    (out / "settings.json").write_text(json.dumps(settings | {"seeds": []}))
    with pytest.raises(ValueError, match=r"settings\.json has no seeds"):
        write_gain_report(out)
    (out / "settings.json").write_text(json.dumps(settings | {"arms": settings["arms"][1:]}))
    with pytest.raises(ValueError, match=r"has 0 arms of real images alone"):
        write_gain_report(out)


def test_many_classes_are_drawn_at_either_end_and_all_are_listed(tmp_path):
    names = [f"class {index}" for index in range(60)]
    page = write_gain_report(folder_of(tmp_path, {"mixed": UNCLEAR}, classes=names))[0].read_text()
    assert "All 60 classes" in page and page.count("<td>class ") == 60
    assert sum(f">{name}</text>" in page for name in names) == 24
    assert len(CLASSES) < 40

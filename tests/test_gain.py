"""Arms by hand, and a comparison as its user runs it: what is planned, what is refused, what comes out."""

import dataclasses
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmseg_data import write_data_set
from mmseg_run import CONFIGS, streets_space

from augment.mmseg.arms import Arm, Mix, arm_config, epochs_as_real, parse_arms, set_iterations
from augment.mmseg.comparison import Comparison, Part, find_parts
from augment.report.gain_trained import BUDGETS
from dpsims.generator import Generator
from dpsims.sample import save_generator

ROOT = Path(__file__).parents[1]
REAL = CONFIGS / "efficientnet_lite0_fpn_streets_real.py"
TINY = {"z_dim": 8, "cond_channels": 8, "channel_base": 2, "spade_hidden": 8, "attention_size": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and the run of a generator that was trained on it."""
    root, space = tmp_path_factory.mktemp("data"), streets_space()
    write_data_set(root / "data", space)
    architecture = {"num_classes": space.num_classes, "height": 32, "width": 64, **TINY}
    (root / "gan").mkdir()
    torch.manual_seed(0)
    save_generator(root / "gan", Generator(**architecture), architecture, space, {"images_seen": 1})
    trained = {"root": str(root / "data"), "train_split": "train", "layout": "generic", "label_space": None}
    (root / "gan" / "config.yaml").write_text(yaml.safe_dump({"data": trained}))
    return root / "data", root / "gan"


def test_arms_by_their_names():
    assert [arm.kind for arm in parse_arms(["mixed", "mixed"])] == ["real", "mixed"]
    (real, filtered) = parse_arms(["mixed-filtered"])
    assert (filtered.kind, filtered.filtered, filtered.name) == ("mixed", True, "mixed-filtered") and not real.filtered
    for name in ("mixd", "real-filtered"):
        with pytest.raises(
            ValueError, match=f"--arms is of real, synthetic, mixed, .*on-the-fly-filtered, not '{name}'"
        ):
            parse_arms([name])


@pytest.mark.parametrize(
    ("kind", "mix", "iterations"),
    [
        ("real", Mix(), 100),
        ("mixed", Mix(share=0.75), 400),  # a quarter of each batch is real
        ("mixed", Mix(share=0.5, schedule="linear"), 133),  # three quarters of all samples are
        ("pretrain", Mix(pretraining=0.2), 125),  # 100 iterations after 25
        ("on-the-fly", Mix(), 200),
    ],
)
def test_iterations_for_as_many_real_samples(kind, mix, iterations):
    assert epochs_as_real(Arm(kind), mix, 100) == iterations


def test_each_arm_is_the_real_config_with_a_hook():
    real = Config.fromfile(REAL)
    made = {"shards": Path("s"), "generator": Path("g"), "perturb": "light"}
    hooks = {}
    for kind in ("real", "synthetic", "mixed", "pretrain", "on-the-fly"):
        cfg = arm_config(real, Arm(kind), Mix(share=0.4, pretraining=0.25, loss_weight=2), 80, **made)
        (hooks[kind],) = cfg.pop("custom_hooks", [None])
        same = arm_config(real, Arm("real"), Mix(), 80)
        same.pop("custom_hooks", None)
        assert cfg.to_dict() == same.to_dict()
    assert hooks["real"] is None
    shards = {"type": "augment.mmseg.mix.MixSynthetic", "shards": "s", "loss_weight": 2}
    assert hooks["synthetic"] == {**shards, "share": 1}
    assert hooks["mixed"] == {**shards, "share": 0.4}
    assert hooks["pretrain"] == {**shards, "share": 1, "schedule": "step", "end": 0, "until": 20}
    painted = {"type": "augment.mmseg.paint.PaintSynthetic", "generator": "g", "perturb": "light", "loss_weight": 2}
    assert hooks["on-the-fly"] == {**painted, "share": 0.4}
    linear = arm_config(real, Arm("mixed"), Mix(schedule="linear"), 80, **made).custom_hooks[0]
    assert linear == {**shards, "loss_weight": 1, "share": 0.5, "schedule": "linear", "end": 0, "until": 80}


def test_a_filtered_arm_differs_by_the_decisions_alone():
    real, made = Config.fromfile(REAL), {"shards": Path("s"), "generator": Path("g"), "decisions": Path("d")}
    for kind in ("synthetic", "mixed", "pretrain", "on-the-fly"):
        raw, filtered = (arm_config(real, Arm(kind, it), Mix(), 80, **made).custom_hooks[0] for it in (False, True))
        assert filtered == {**raw, "decisions": "d"}


def test_a_schedule_goes_with_the_length():
    cfg = Config.fromfile(REAL)  # 600 iterations
    set_iterations(cfg, 1200)
    assert cfg.train_cfg.max_iters == 1200 and cfg.train_cfg.val_interval == 400
    assert [(it.begin, it.end) for it in cfg.param_scheduler] == [(0, 120), (120, 1200)]
    set_iterations(cfg, 2)
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (1, 1)


def comparison(data: tuple[Path, Path], out: Path, **changes: object) -> Comparison:
    parts = find_parts(data[0], out, [1], {1: data[1]}, needed=True)
    options = {"parts": parts, "arms": parse_arms(["synthetic", "mixed", "pretrain"]), "mix": Mix(), "seeds": [0, 1]}
    options |= {"iterations": 8, "budgets": list(BUDGETS), "synthesis": [], "perturb": None}
    options |= {"scorer": "segmenter", "filtering": []}
    return Comparison(REAL, out, **{**options, **changes})


def test_what_is_planned(data, tmp_path):
    stages = comparison(data, tmp_path).prepare()
    seed = ["segmenters/real", "segmenters/synthetic", "segmenters/mixed", "segmenters/pretrain"]
    seed += ["segmenters-epochs/mixed", "segmenters-epochs/pretrain"]
    assert [stage.name for stage in stages] == [
        "100/shards",
        *(f"100/{name}-seed{number}" for number in (0, 1) for name in seed),
    ]
    assert stages[1].inputs == () and stages[2].inputs == (tmp_path / "100/shards/shards.json",)
    lengths = {file.stem: Config.fromfile(file).train_cfg.max_iters for file in (tmp_path / "100/configs").iterdir()}
    assert lengths == {"real": 8, "synthetic": 8, "mixed": 8, "pretrain": 8, "mixed-epochs": 16, "pretrain-epochs": 16}


def test_a_filter_looks_with_the_first_seeds_segmenter_or_with_the_discriminator(data, tmp_path):
    arms = parse_arms(["mixed", "mixed-filtered"])
    stages = {stage.name: stage for stage in comparison(data, tmp_path, arms=arms, seeds=[3, 4]).prepare()}
    filtering = stages["100/filtered"]
    teacher = tmp_path / "100/segmenters/real-seed3"
    assert filtering.inputs == (tmp_path / "100/shards/shards.json", teacher / "test.json")
    assert filtering.arguments[:1] == ("tools/filter.py",) and str(teacher) in filtering.arguments
    decided = tmp_path / "100/filtered/filter.json"
    assert stages["100/segmenters/mixed-filtered-seed3"].inputs == (tmp_path / "100/shards/shards.json", decided)
    assert decided not in stages["100/segmenters/mixed-seed3"].inputs
    other = {"arms": arms, "scorer": "discriminator", "filtering": ["--quantile", "0.9"]}
    with pytest.raises(ValueError, match="was made with other settings .*scorer: 'segmenter' → 'discriminator'"):
        comparison(data, tmp_path, **other).prepare()
    stages = {stage.name: stage for stage in comparison(data, tmp_path / "other", **other).prepare()}
    filtering = stages["100/filtered"]
    assert filtering.inputs == (tmp_path / "other/100/shards/shards.json",)
    assert filtering.arguments[-2:] == ("--quantile", "0.9") and str(data[1]) in filtering.arguments


def test_more_seeds_go_on_and_other_settings_are_refused(data, tmp_path):
    comparison(data, tmp_path).prepare()
    assert len(comparison(data, tmp_path, seeds=[0, 1, 2]).prepare()) == 1 + 3 * 6
    with pytest.raises(ValueError, match="was made with other settings .*share: 0.5 → 0.25"):
        comparison(data, tmp_path, mix=Mix(share=0.25)).prepare()
    other = write_data_set(tmp_path / "other", streets_space())
    (other / "train/labels/000.png").write_bytes((other / "train/labels/001.png").read_bytes())
    parts = [dataclasses.replace(part, data=other) for part in comparison(data, tmp_path).parts]
    with pytest.raises(ValueError, match="100 was made with other settings .*files_sha256.train"):
        comparison(data, tmp_path, parts=parts).prepare()


def test_real_images_alone_may_come_first_and_again(data, tmp_path):
    real = {"parts": find_parts(data[0], tmp_path, [1], {}, needed=False), "arms": parse_arms([])}
    comparison(data, tmp_path, **real).prepare()
    comparison(data, tmp_path).prepare()
    assert len(comparison(data, tmp_path, **real, seeds=[0, 1, 2]).prepare()) == 3
    other = [dataclasses.replace(part, generator_sha256="0") for part in comparison(data, tmp_path).parts]
    with pytest.raises(ValueError, match=r"100 was made with other settings \(generator_sha256: '\w+...\w+' → '0'\)"):
        comparison(data, tmp_path, parts=other).prepare()


def test_another_first_seed_than_the_filters_is_refused_before_it_is_trained(data, tmp_path):
    arms = parse_arms(["mixed-filtered"])
    comparison(data, tmp_path, arms=arms).prepare()
    filtered = tmp_path / "100/filtered"
    filtered.mkdir()
    checkpoint = str(tmp_path / "100/segmenters/real-seed0/best_mIoU_iter_8.pth")
    (filtered / "filter.json").write_text(json.dumps({"origin": {"checkpoint": checkpoint}}))
    comparison(data, tmp_path, arms=arms, seeds=[0, 7]).prepare()
    with pytest.raises(ValueError, match="100/filtered was made by real-seed0, not real-seed7: --seeds begins with"):
        comparison(data, tmp_path, arms=arms, seeds=[7, 0]).prepare()


def test_a_config_that_reads_other_variables_than_before_is_refused(data, tmp_path, monkeypatch):
    comparison(data, tmp_path).prepare()
    moved = [dataclasses.replace(part, data=data[0].parent / "moved") for part in comparison(data, tmp_path).parts]
    moved[0].data.symlink_to(data[0])
    comparison(data, tmp_path, parts=moved).prepare()  # the same files
    monkeypatch.setenv("SEG_WIDTH", "96")
    with pytest.raises(ValueError, match=r"100/configs/real\.py was made with other settings \(.*width: 128 → 96"):
        comparison(data, tmp_path).prepare()


@pytest.mark.parametrize("kind", ["mixed", "synthetic"])
def test_a_config_that_is_not_on_real_images_is_refused(kind, data, tmp_path):
    config = REAL.with_name(f"efficientnet_lite0_fpn_streets_{kind}.py")
    with pytest.raises(ValueError, match=f"streets_{kind}.py trains on synthetic images, .* its `_real` sibling"):
        dataclasses.replace(comparison(data, tmp_path), config=config).prepare()


def test_what_the_segmenter_lacks_is_said_before_anything_is_made(data, tmp_path, request):
    asked = dataclasses.replace(comparison(data, tmp_path), config=REAL.with_name("mask2former_r50_generic_real.py"))
    with pytest.raises(ValueError, match="loss_weight=0.5: no head of this model has a loss_decode"):
        dataclasses.replace(asked, mix=Mix(loss_weight=0.5)).prepare()
    request.getfixturevalue("without_mmdet")
    with pytest.raises(ValueError, match="Mask2FormerHead needs the package mmdet, which is missing; install it with"):
        asked.prepare()
    assert not list(tmp_path.iterdir())


def test_a_generator_that_saw_more_labels_is_refused(data, tmp_path):
    seen = r"0.5=.*gan was trained on 6 images, 3 of them not among the 3 of this fraction"
    with pytest.raises(ValueError, match=seen):
        find_parts(data[0], tmp_path, [0.5], {0.5: data[1]}, needed=True)
    with pytest.raises(ValueError, match=r"none for the fraction 0.5: train it .* data.root=.*data/50 .*0.5=RUN"):
        find_parts(data[0], tmp_path, [0.5], {}, needed=True)
    part = Part(0.5, tmp_path / "data/50", 3)
    assert find_parts(data[0], tmp_path, [0.5], {}, needed=False) == [part] and part.name == "50"


def test_a_generator_that_began_with_another_one_is_noted(data, tmp_path):
    shutil.copytree(data[1], tmp_path / "gan")
    config = yaml.safe_load((data[1] / "config.yaml").read_text()) | {"init_from": "runs/gan-ade"}
    (tmp_path / "gan/config.yaml").write_text(yaml.safe_dump(config))
    began, alone = (find_parts(data[0], tmp_path, [1], {1: run}, needed=True) for run in (tmp_path / "gan", data[1]))
    assert (began[0].generator_init_from, alone[0].generator_init_from) == ("gan-ade", None)
    comparison(data, tmp_path / "out", parts=began).prepare()
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert settings["fractions"][0]["generator_init_from"] == "gan-ade"


def test_the_whole_comparison(data, tmp_path):
    command = [sys.executable, "tools/gain.py", REAL, "--data-root", data[0], "--generator", f"1={data[1]}"]
    command += [
        "--arms",
        "mixed",
        "mixed-filtered",
        "on-the-fly-filtered",
        "--seeds",
        "0",
        "--iterations",
        "2",
        "--equal",
        "iterations",
        "--jobs",
        "2",
    ]
    command += ["--synthesis=--samples 1", "--filter=--tolerance 2 --features none", "--out", tmp_path / "out"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "which one seed cannot tell from chance" in done.stdout and "report.html" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["seeds"] == [0]
    for arm in ("mixed", "mixed-filtered", "on-the-fly-filtered"):
        assert (tmp_path / f"out/100/segmenters/{arm}-seed0/test.json").is_file()
    assert report["fractions"][0]["filter"]["settings"]["tolerance"] == 2

    bad = subprocess.run([sys.executable, "tools/gain.py", str(REAL), "--data-root", str(data[0]), "--out", "x",
                          "--generator", "runs/gan"], cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    assert bad.returncode == 2 and "'runs/gan' is FRACTION=RUN" in bad.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--jobs", "0"], "--jobs is at least 1, not 0"),
        (["--iterations", "1"], "--iterations is at least 2, not 1"),
        (["--fractions", "1", "1"], "--fractions are different numbers"),
        (
            ["--fractions", "1", "--generator", "0.5=runs/gan"],
            "--generator 0.5=runs/gan: 0.5 is not among the --fractions",
        ),
        (["--seeds", "1", "1"], "--seeds are different numbers"),
        (["--seeds", "0", "-1"], "--seeds are at least 0, not -1"),
        (["--filter=--max-rejct 0.5"], "--filter: tools/filter.py has no option --max-rejct 0.5"),
        (["--filter=--max-rejected half"], "--filter: argument --max-rejected: invalid float value: 'half'"),
        (["--filter=--max-rejected 50"], "--filter: --max-rejected is a share from 0 to 1, not 50"),
        (["--filter=--drop-fakest 0.1"], "--filter: --drop-fakest means nothing with --scorer segmenter"),
        (["--filter=--max-rejected 0.5"], "--filter is of filtered arms, and there is none"),
        (["--share", "1"], "--share is more than 0 and less than 1, not 1"),
        (["--loss-weight", "0"], "--loss-weight is more than 0, not 0"),
        (["--schedule", "step"], "--schedule is constant or linear, not 'step'"),
        (["--arms", "mixd"], "not 'mixd'"),
        (["--synthesis=--samples 4 --labels data/camvid/train"], "--synthesis='--labels': --labels is given by this"),
        (["--synthesis=--gen=runs/gan"], "--synthesis='--gen=runs/gan': --generator is given by this command"),
        (["--filter=--data-root data/camvid"], "--filter='--data-root': --data-root is given by this command"),
    ],
)
def test_options_that_make_no_sense(options, message, data, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = runpy.run_path(str(ROOT / "tools" / "gain.py"))
    arguments = tool["parse_args"]([str(REAL), "--data-root", str(data[0]), "--out", str(tmp_path), *options])
    with pytest.raises(ValueError, match=re.escape(message)):
        tool["build"](arguments)


def test_a_config_for_any_data_set_takes_its_length_from_itself(data, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = runpy.run_path(str(ROOT / "tools" / "gain.py"))
    generic = CONFIGS / "efficientnet_lite0_fpn_generic_real.py"
    command = [str(generic), "--data-root", str(data[0]), "--out", str(tmp_path / "out"), "--arms", "real"]
    assert tool["build"](tool["parse_args"](command)).iterations == Config.fromfile(generic).train_cfg.max_iters


def test_trainings_side_by_side_share_the_cores_unless_told_otherwise(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    places = runpy.run_path(str(ROOT / "tools" / "gain.py"))["places"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert places(2) == [{"OMP_NUM_THREADS": "2"}] * 2 and places(8) == [{"OMP_NUM_THREADS": "1"}] * 8
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert places(2) == [{"OMP_NUM_THREADS": "1"}] * 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8f")  # the others are somebody else's
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(3)] == ["2", "GPU-8f", "2"]

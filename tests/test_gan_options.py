import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

from gan_options import check_names, read_options  # noqa: E402


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("run.bach_size=8", "run.batch_size"),
        ("dta.root=somewhere", "data.root"),
        ("discriminator.backbone.nme=resnet50", "discriminator.backbone.name"),
        ("lr_G=0.001", "optim.lr_G"),
        ("+run.batchsize=8", "run.batch_size"),
        ("experment=demo", "experiment"),
        ("experiment=camvid", "camvid_cpu"),
        ("ablation=[diversity_0,uniform]", "uniform_sampling"),
    ],
)
def test_a_mistyped_option_is_told_with_the_nearest(mistyped, meant):
    with pytest.raises(ValueError, match=f"unknown .*; did you mean {meant}\\?"):
        check_names([mistyped])


def test_nothing_near():
    with pytest.raises(ValueError, match="unknown preset data=xyz; there are .*camvid"):
        check_names(["data=xyz"])
    with pytest.raises(ValueError, match="unknown option qqqqqq$"):
        check_names(["qqqqqq=1"])
    with pytest.raises(ValueError, match="key=value"):
        check_names(["data.root"])


def test_known_options_pass():
    options = [
        "data=camvid",
        "data.root='a b/c=d'",
        "experiment=null",
        "ablation=[diversity_0]",
        "discriminator.augment=[color]",
    ]
    config = read_options([*options[:2], *options[3:]])
    check_names(options)
    assert config.data.root == "a b/c=d" and config.loss.diversity.weight == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("run.batch_size=many", "run.batch_size should be int, not 'many'"),
        ("run.micro_batch=0", "run.micro_batch must be above 0, not 0"),
        ("loss.diversity.space=pixels", "loss.diversity.space takes features, image, not 'pixels'"),
        ("discriminator.augment=[colour]", "discriminator.augment takes color, translation, cutout, not 'colour'"),
        ("validation.metric=IS", "validation.metric takes FID, KID, not 'IS'"),
    ],
)
def test_wrong_values_are_told_with_what_is_right(option, words):
    with pytest.raises(ValueError, match=words):
        read_options(["data.root=somewhere", option])


def test_a_missing_value():
    with pytest.raises(ValueError, match="data.root has no value; give it as data.root=…"):
        read_options([])


def test_the_tool_tells_it_in_one_line():
    failed = subprocess.run([sys.executable, TOOLS / "train_gan.py", "run.bach_size=8"], capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.strip() == "error: unknown option run.bach_size; did you mean run.batch_size?"

"""Each benchmark runs at its smallest setting and prints the JSON that its README documents; no times are judged."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_gan import tiny_config
from torch import Tensor, nn

from augment.factory import encode_image
from benchmarks import filter as filtering
from benchmarks import generator, inference, photos, synthesis, training_step
from benchmarks.generator import count_flops
from benchmarks.measure import in_turns, peak_memory, run_alone, spread
from benchmarks.options import gan_config, gan_overrides
from benchmarks.report import run
from dpsims.generator import Generator
from dpsims.labels import encode_label_png
from dpsims.layers import CrossAttention, SelfAttention
from dpsims.sample import to_uint8
from dpsims.train import train

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TINY = ["--model", "small", "--channel-base", "2", "--size", "32x64", "--classes", "3", "--batch", "2"]
TINY += ["--rounds", "2", "--warmup", "1", "--device", "cpu", "--dtype", "fp32"]


@dataclass(frozen=True)
class Named:
    name: str


def names(value: object) -> set[str]:
    """All keys of nested dicts, but for those of settings, which are options."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    if isinstance(value, dict):
        return set(value).union(*(names(inner) for key, inner in value.items() if key != "setting"))
    return set()


def check_document(text: str, name: str) -> dict:
    """One JSON document, all of whose keys the README explains; returns its only result."""
    document = json.loads(text)
    assert list(document) == ["command", "environment", "results"]
    assert document["command"].startswith(f"python -m benchmarks.{name} --")
    assert {"cpu", "cores", "torch_threads", "gpus", "load_average", "commit"} <= set(document["environment"])
    assert document["environment"]["packages"]["torch"] == torch.__version__.split("+")[0]
    (result,) = document["results"]
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert [key for key in sorted(names(result)) if f"`{key}`" not in readme] == []
    return result


@pytest.mark.parametrize("kind", [["--paced", "500"], ["--model", "small", "--channel-base", "2"]])
def test_synthesis(capsys, kind):
    options = ["--size", "32x64", "--classes", "3", "--maps", "3", "--samples", "2", "--batch", "2", "--rounds", "2"]
    synthesis.main([*kind, *options, "--device", "cpu"])
    result = check_document(capsys.readouterr().out, "synthesis")
    assert result["images"] == 6 and [run["images"] for run in result["memory"]] == [6, 24]
    assert all(result[name]["images_per_second"] > 0 for name in ("generator", "synthesize"))


def test_generator(capsys, tmp_path):
    generator.main([*TINY, "--samples", "2", "--out", str(tmp_path / "sub" / "out.json")])
    printed = capsys.readouterr().out
    assert json.loads((tmp_path / "sub" / "out.json").read_text()) == json.loads(printed)
    result = check_document(printed, "generator")
    assert result["setting"]["height"] == 32 and result["setting"]["width"] == 64
    encode, decode = result["flops"]["encode"], result["flops"]["decode"]
    alone, shared = result["passes"]
    assert [made["samples_per_map"] for made in result["passes"]] == [1, 2]
    assert alone["flops"] == 2 * encode + 2 * decode and shared["flops"] == encode + 2 * decode
    assert alone["speedup"] == {"min": 1, "median": 1, "max": 1}
    for made in result["passes"]:
        best = result["matmul_flops_per_second"]["max"]
        assert made["floor_seconds"] == pytest.approx(made["flops"] / best, rel=2e-3)
        assert made["efficiency"] == pytest.approx(made["floor_seconds"] / made["seconds"]["median"], rel=2e-3)
        assert made["images_per_second"] == pytest.approx(2 / made["seconds"]["median"], rel=2e-3)
        assert made["memory"]["peak_bytes"] >= made["memory"]["start_bytes"] > 0


def test_inference(capsys):
    inference.main([*TINY[:-1], "bf16"])
    result = check_document(capsys.readouterr().out, "inference")
    parts = {made["part"]: made for made in result["parts"]}
    assert list(parts) == ["plain", "batched", "reuse", "channels_last", "folded", "unfolded_bf16", "bf16"]
    assert parts["plain"]["speedup"] == {"min": 1, "median": 1, "max": 1}
    assert [name for name, made in parts.items() if "gain" in made] == ["reuse", "channels_last", "folded", "bf16"]
    assert parts["reuse"]["gain"] == parts["reuse"]["speedup"]
    for made in parts.values():
        assert made["images_per_second"] == pytest.approx(2 / made["seconds"]["median"], rel=2e-3)
    assert result["first_layer"]["look_up"]["min"] > 0


def test_training_step(capsys):
    training_step.main(TINY)
    result = check_document(capsys.readouterr().out, "training_step")
    assert result["setting"]["perceptual"] == result["setting"]["backbone"] == "tf_efficientnet_lite0"
    assert result["parameters"]["frozen"]["G"] == 0 < result["parameters"]["frozen"]["D"]
    flops = result["flops"]
    assert flops["ema"] == 0 < min(flops["D"], flops["G"]) and flops["D"] + flops["G"] == flops["step"]
    seconds = {name: values["min"] for name, values in result["seconds"].items()}
    assert 0 < seconds["D"] + seconds["G"] < seconds["step"] * 1.01


def test_shards_prints_nothing_but_its_document():
    options = ["--size", "32x64", "--maps", "2", "--samples", "3", "--batch", "2", "--rounds", "1", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.shards", *options, "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = check_document(done.stdout, "shards")
    assert result["images"] == 6 and result["shards"] == 1
    assert [writing["threads"] for writing in result["write"]] == [1]
    assert len(result["read"]) == 4
    for figures in (*result["write"], *result["read"], result["index"]):
        seconds = figures["seconds"]["median"]
        assert figures["images_per_second"] == pytest.approx(6 / seconds, rel=2e-3)
        expected = 6 * result["bytes_per_image"] / 1e6 / seconds
        assert figures["megabytes_per_second"] == pytest.approx(expected, rel=5e-3)


def test_flops_are_two_per_multiply_add_of_every_layer():
    net = Generator(num_classes=3, height=64, width=96, channel_base=2, cond_channels=8, attention_size=32).eval()
    expected = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal expected
        if isinstance(module, nn.Conv2d):
            expected += 2 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        elif isinstance(module, nn.Linear):
            expected += 2 * output.numel() * module.in_features
        elif isinstance(module, SelfAttention | CrossAttention):  # Q Kᵀ, then the average of V
            channels, pixels = inputs[0].shape[1], inputs[0][0, 0].numel()
            keys = pixels if isinstance(module, SelfAttention) else inputs[1].shape[1]
            expected += 2 * 2 * pixels * keys * (channels // 2)

    for module in net.modules():
        module.register_forward_hook(add)
    counted = count_flops(net, torch.zeros(1, 64, 96, dtype=torch.long), torch.ones(1, 64))
    assert counted["encode"] + counted["decode"] == expected


def test_tasks_take_turns():
    order = []
    tasks = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    seconds = in_turns(tasks, 3, CPU)
    assert order == ["a", "b"] * 3 and [len(taken) for taken in seconds.values()] == [3, 3]
    assert spread([3.0, 1.0, 10 / 3]) == {"min": 1.0, "median": 3.0, "max": 3.333}


def peak_with(megabytes: int) -> int:
    torch.ones(megabytes * 2**20, dtype=torch.uint8)
    return peak_memory(CPU)


def test_peak_memory_is_of_one_process():
    large, small = run_alone(peak_with, 600), run_alone(peak_with, 1)
    assert large - small == pytest.approx(599 * 2**20, rel=0.1)


def test_a_setting_that_dies_is_a_result(capsys):
    def measure(setting: Named) -> dict:
        return run_alone(os._exit, 1) if setting.name == "bad" else {"figure": 7}

    run("generator", [], [Named("bad"), Named("good")], measure, None)
    bad, good = json.loads(capsys.readouterr().out)["results"]
    assert bad["setting"] == {"name": "bad"} and bad["error"].startswith("BrokenProcessPool")
    assert good == {"setting": {"name": "good"}, "figure": 7}


@pytest.mark.parametrize("module", [generator, inference, training_step])
def test_presets_are_settings_of_the_gans_configuration(module):
    for preset, device in (("cpu", "cpu"), ("gpu", "cuda")):
        settings = module.PRESETS[preset]()
        assert len(set(settings)) == len(settings) > 2
        for setting in settings:
            config = gan_config(gan_overrides(setting))
            assert setting.device == device and config.data.height % 32 == config.data.width % 32 == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "cpu", "--size", "64x64", "--rounds", "3"], "--preset cpu brings its own --rounds, --size"),
        (["--batch", "6", "--samples", "4"], "--batch 6 is no multiple of --samples 4"),
        (["--size", "40x64", "--model", "small", "--samples", "1"], "multiple of 32: height=40, width=64"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(SystemExit, match=message):
        generator.main(arguments)


def test_an_unknown_network_is_named():
    with pytest.raises(SystemExit, match="timm has no model 'resnet19'; did you mean resnet18"):
        training_step.main([*TINY, "--perceptual", "resnet19"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_gpu_preset_without_a_gpu_is_a_message():
    with pytest.raises(SystemExit, match="'cuda': this machine has 0 CUDA devices"):
        training_step.main(["--preset", "gpu"])


def test_photos_compress_like_photos():
    rng = np.random.default_rng(0)
    images = to_uint8(torch.from_numpy(photos.photos(4, 256, 256, rng))).numpy()
    assert 30_000 < np.mean([len(encode_image(image, "jpg", 95)) for image in images]) < 45_000
    label_map = photos.label_map(19, 256, 256, rng)
    assert 3_000 < len(encode_label_png(label_map)) < 6_000
    assert len(np.unique(label_map)) > 10


def test_the_bank_gives_as_many_images_as_noises():
    bank = photos.PhotoBank(np.zeros((8, 3, 4, 4), np.float32))
    for count in (1, 8):
        assert bank.decode(bank.encode(torch.zeros(1, 4, 4)), torch.randn(count, 5)).shape == (count, 3, 4, 4)


def test_filter(tiny_root, tmp_path, capsys):
    run_folder = train(tiny_config(tiny_root, tmp_path, "run.total_kimg=0.004", "loss.diversity.tau=1"))
    capsys.readouterr()
    filtering.main(["--run", str(run_folder), "--per-map", "1", "--device", "cpu"])
    document = json.loads(capsys.readouterr().out)
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert len(document["results"]) == len(filtering.LIMITS) * len(filtering.WINDOWS)
    for result in document["results"]:
        assert [key for key in result if f"`{key}`" not in readme] == []
        hits = (result["precision"] or 0) * result["rejected"]
        assert hits == pytest.approx(result["recall"] * result["planted"], rel=1e-2)
        assert 0 < result["planted"] < result["pixels"] <= 10 * 32 * 64

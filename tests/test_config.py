import pytest
import yaml
from tiny_gan import CONFIGS, compose_options

from dpsims.config import TrainConfig, differences, from_dict


@pytest.mark.parametrize("group", ["data", "model", "experiment"])
def test_every_yaml_composes_into_a_configuration(group):
    for file in sorted((CONFIGS / group).glob("*.yaml")):
        options = compose_options([f"{group}={file.stem}"])
        if options["data"]["root"] == "???":
            options["data"]["root"] = "somewhere"
        assert isinstance(from_dict(TrainConfig, options), TrainConfig), file


@pytest.mark.parametrize("file", sorted((CONFIGS / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_overrides_the_defaults(file):
    """Each value that its file states is the value of the composed configuration."""
    stated = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "defaults"}
    changed = differences(compose_options([f"experiment={file.stem}"]), stated)
    assert stated and not {key: values for key, values in changed.items() if values[1] is not None}


def test_defaults_are_the_papers():
    options = compose_options(["data.root=somewhere"])
    assert options["optim"]["lr_G"] == options["optim"]["lr_D"] == 1e-3
    assert options["optim"]["betas"] == [0.0, 0.99]
    assert options["run"]["batch_size"] == 64
    assert options["loss"]["diversity"]["weight"] == 10
    assert options["loss"]["contrastive"]["num_patches"] == 128
    assert options["loss"]["contrastive"]["embedding_dim"] == 256
    # EMA 0.9999 per step of 64 images
    assert 0.5 ** (64 / (options["optim"]["ema_halflife_kimg"] * 1000)) == pytest.approx(0.9999, abs=1e-7)


def test_wrong_options_are_named():
    def options():
        return compose_options(["data.root=somewhere"])

    wrong = options()
    wrong["run"]["batchsize"] = 3
    with pytest.raises(ValueError, match="unknown option run.batchsize; did you mean run.batch_size?"):
        from_dict(TrainConfig, wrong)
    wrong = options()
    wrong["run"]["batch_size"] = "many"
    with pytest.raises(ValueError, match="run.batch_size should be int, not 'many'"):
        from_dict(TrainConfig, wrong)
    wrong = options()
    del wrong["seed"]
    with pytest.raises(ValueError, match="options without a value: seed"):
        from_dict(TrainConfig, wrong)
    wrong = options()
    wrong["run"]["total_kimg"] = -1
    with pytest.raises(ValueError, match="run.total_kimg must be above 0, not -1"):
        from_dict(TrainConfig, wrong)
    wrong = options()
    wrong["run"]["batch_size"] = 1
    with pytest.raises(ValueError, match="run.batch_size=1"):
        from_dict(TrainConfig, wrong)


def test_differences():
    assert differences({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 5, "d": 3}, "e": 0}) == {
        "b.c": (2, 5),
        "e": (None, 0),
    }

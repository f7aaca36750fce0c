"""The configuration of a GAN from overrides, as tools/train_gan.py composes it, for tools with options of their own."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dpsims.config import TrainConfig, from_dict

CONFIGS = Path(__file__).parents[1] / "configs" / "gan"


def read_options(overrides: list[str]) -> TrainConfig:
    """From words such as data=camvid and run.batch_size=8. What cannot be understood is a ValueError that names it."""
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            options = compose("default", overrides)
        values = OmegaConf.to_container(options, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} has no value; give it as {error.full_key}=…") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(str(error)) from None
    return from_dict(TrainConfig, values)

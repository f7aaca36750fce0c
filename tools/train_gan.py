"""Train a DP-SIMS generator: python tools/train_gan.py data=camvid data.root=DIR (--help for all options)."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from dpsims.config import TrainConfig, from_dict
from dpsims.train import train


@hydra.main(config_path=str(Path(__file__).parents[1] / "configs" / "gan"), config_name="default", version_base="1.3")
def main(options: DictConfig) -> None:
    try:
        config = from_dict(TrainConfig, OmegaConf.to_container(options, resolve=True, throw_on_missing=True))
        folder = train(config)
    except MissingMandatoryValue as error:
        sys.exit(f"error: {error.full_key} has no value; give it as {error.full_key}=…")
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        print(stop or "stopped; the same command goes on from the last checkpoint")
        sys.exit(130)
    print(f"done: {folder / 'generator.safetensors'}; grids in {folder / 'samples'}, losses in {folder / 'log.jsonl'}")


if __name__ == "__main__":
    main()

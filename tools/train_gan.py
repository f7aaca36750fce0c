"""Train a DP-SIMS generator: python tools/train_gan.py data=camvid data.root=DIR (--help for all options).

Several GPUs or nodes, the same run: torchrun --nproc-per-node 8 tools/train_gan.py …
"""

import sys

import hydra
from endings import plain_ending
from gan_options import CONFIGS, check_names, to_config
from omegaconf import DictConfig

from dpsims import distributed
from dpsims.train import train


@hydra.main(config_path=str(CONFIGS), config_name="default", version_base="1.3")
def run(options: DictConfig) -> None:
    with plain_ending(faults=(ValueError, FloatingPointError, OSError)):
        try:
            folder = train(to_config(options))
        except KeyboardInterrupt as stop:
            if distributed.rank() == 0:
                print(str(stop) or "stopped; the same command goes on from the last checkpoint")
            sys.exit(130)
    if distributed.rank() == 0:
        print(
            f"done: {folder / 'generator.safetensors'}; grids in {folder / 'samples'}, losses in {folder / 'log.jsonl'}"
        )
    distributed.leave()


def main() -> None:
    arguments = sys.argv[1:]
    own_presets = any(argument.startswith(("--config", "-cd", "-cp", "-cn")) for argument in arguments)
    if not own_presets:
        with plain_ending():
            check_names([argument for argument in arguments if "=" in argument and not argument.startswith("-")])
    run()


if __name__ == "__main__":
    main()

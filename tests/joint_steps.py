"""Three steps of training by one process or by torchrun's ranks; the first one saves what came of it.

Plain SGD with small steps: Adam would turn the rounding noise of gradients that are zero in truth into whole steps, and
large steps would multiply it, for the gradient through D's backbone jumps at the kinks of its activations.
"""

import copy
import sys
from pathlib import Path

import torch
from tiny_gan import tiny_config

from dpsims import distributed
from dpsims.trainer import Trainer


def main(root: str, out: str, *overrides: str) -> None:
    trainer = Trainer(tiny_config(Path(root), Path(out), *overrides))
    trainer.calibrate_diversity()
    nets = {"G": trainer.step.G, "D": trainer.step.D, "contrast": trainer.step.contrast}
    start = {name: copy.deepcopy(net.state_dict()) for name, net in nets.items()}
    trainer.optimizers = {name: torch.optim.SGD(trainer.params[name], lr=lr) for name, lr in (("D", 1e-3), ("G", 1e-6))}
    batches = trainer.batches(0)
    logs = [trainer.train_batch(next(batches)) for _ in range(3)]
    if distributed.rank() == 0:
        moved = {
            name: {key: value - start[name][key] for key, value in net.state_dict().items()}
            for name, net in nets.items()
        }
        torch.save({"tau": trainer.step.tau_diversity, "logs": logs, "moved": moved}, Path(out) / "joint.pt")
    distributed.barrier()
    distributed.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])

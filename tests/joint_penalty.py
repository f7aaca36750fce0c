"""The gradient of an R1-like penalty through a synchronised batch norm, by torchrun's ranks on shares of a batch."""

import sys

import torch
from torch import nn

from dpsims import distributed


def main(out: str) -> None:
    distributed.launch(torch.device("cpu"))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 1, 3)).double()
    distributed.synchronize_batch_norm(net, native=False)
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    share = len(x) // distributed.world_size()
    x = x[distributed.rank() * share :][:share].requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    total = distributed.total(net[0].weight.grad.clone())
    if distributed.rank() == 0:
        torch.save(total, out)
    distributed.barrier()
    distributed.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a training run will take, before it is started: one step on tensors that have shapes and no content.

Parameters and FLOPs are counted, memory is booked as every tensor comes and goes. Time is a model: FLOPs at the rate of
a large matrix product plus the bytes that all operations read and write at the rate of an element-wise product, both
measured here and now. Loading of data, sample grids and what libraries take for themselves are left out.
"""

import dataclasses
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dpsims.build import build_step
from dpsims.config import TrainConfig
from dpsims.gan_step import Batch, Phase
from dpsims.hardware import main_memory, pick_device, use_bf16
from dpsims.labels import LabelSpace
from dpsims.noise import StepRandom
from dpsims.recompute import recompute_discriminator, recompute_generator

ROUNDS = 5
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
COPY_BYTES = {"cpu": 2**26, "cuda": 2**28}  # more than a CPU's allocator recycles: new pages, as in training


@dataclass(frozen=True)
class Work:
    """One step (D, G) of a configuration, on one device that does the whole batch.

    Attributes:
        trainable, frozen: number of parameters of G, D and the contrastive loss.
        held_bytes: weights, buffers, their average and Adam's moments, there all the time.
        peak_bytes: the most at any time of a step, with gradients, activations and temporaries.
        flops: of convolutions, matrix products and attention, two per multiply-add; of the mean step.
        moved_bytes: what all operations of the mean step read and write.
    """

    batch_size: int
    trainable: dict[str, int]
    frozen: dict[str, int]
    held_bytes: int
    peak_bytes: int
    flops: int
    moved_bytes: int


@dataclass(frozen=True)
class Rates:
    """What a device does, measured: FLOPs per second of a matrix product, bytes per second of an element-wise one."""

    flops_per_second: float
    bytes_per_second: float

    def seconds(self, work: Work) -> float:
        """Of one step."""
        return work.flops / self.flops_per_second + work.moved_bytes / self.bytes_per_second

    def efficiency(self, work: Work) -> float:
        """Share of a step in which matrices are multiplied at full rate."""
        return work.flops / self.flops_per_second / self.seconds(work)


class Ledger(TorchDispatchMode):
    """Books memory by the life of its owners (views share theirs), and the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[int, tuple[int, weakref.ref]] = {}
        self.bytes, self.peak, self.moved = 0, 0, 0

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        read, written = _tensors((args, kwargs)), _tensors(result)
        known = {_owner(tensor) for tensor in read}
        if func._schema.is_mutable or any(_owner(tensor) not in known for tensor in written):  # else it is a view
            self.moved += sum(tensor.nbytes for tensor in (*read, *written))
        for tensor in written:
            self._book(tensor)
        return result

    def _book(self, tensor: Tensor) -> None:
        owner = _owner(tensor)
        if owner not in self.owners:
            storage = tensor.untyped_storage()
            self.owners[owner] = (storage.nbytes(), weakref.ref(storage, lambda _: self._strike(owner)))
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)

    def _strike(self, owner: int) -> None:
        self.bytes -= self.owners.pop(owner)[0]


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _owner(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def count_work(config: TrainConfig, space: LabelSpace) -> Work:
    """Go through a step of `config`, and one with R1, on its device and in its precision, at no cost in memory.

    Raises:
        ValueError: an option is wrong.
        RuntimeError: the step asks for what depends on content.
    """
    device = pick_device(config.run.device)
    bf16 = use_bf16(device, config.run.precision)
    with torch.device("meta"):
        step = build_step(config, space)
    nets = {name: net for name in ("G", "D", "contrast") if (net := getattr(step, name)) is not None}
    for net in nets.values():
        net.train().to(memory_format=torch.channels_last)
    trainable, frozen = (
        {name: sum(p.numel() for p in net.parameters() if p.requires_grad == wanted) for name, net in nets.items()}
        for wanted in (True, False)
    )

    ledger, counter = Ledger(), FlopCounterMode(display=False)
    with FakeTensorMode(allow_non_fake_inputs=True), ledger:  # shapes, types and devices alone
        for net in nets.values():
            net.to_empty(device=device)
        phases = step.phases()
        kept = [torch.empty_like(tensor) for tensor in step.G.state_dict().values()]  # the average
        for phase in phases.values():
            kept += [torch.empty_like(p) for p in phase.trainable() for _ in ("m", "v")]  # Adam's moments
        held, ledger.moved = ledger.bytes, 0
        if config.run.activation_checkpointing:
            recompute_generator(step.G)
            recompute_discriminator(step.D)
        batch = _batch(config, device)
        parts = batch.split(config.run.micro_batch or len(batch))
        with counter:
            _go_through(phases, parts, device, bf16, penalize=False)
        flops, moved, r1 = counter.get_total_flops(), ledger.moved, config.loss.r1
        if r1.weight > 0:  # every so many steps one with the penalty
            with counter:
                _go_through(phases, parts, device, bf16, penalize=True)
            flops += round((counter.get_total_flops() - flops) / r1.every)
            moved += round((ledger.moved - 2 * moved) / r1.every)
    return Work(
        batch_size=config.run.batch_size,
        trainable=trainable,
        frozen=frozen,
        held_bytes=held,
        peak_bytes=ledger.peak,
        flops=flops,
        moved_bytes=moved,
    )


def _go_through(
    phases: dict[str, Phase], parts: Sequence[Batch], device: torch.device, bf16: bool, *, penalize: bool
) -> None:
    """A step, whose gradients stay, as they do until the next one."""
    extra = {"D": (penalize,), "G": ()}
    for name, phase in phases.items():
        parameters = phase.trainable()
        for parameter in parameters:
            parameter.grad = None
        for part in parts:
            with parametrize.cached():
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    loss, _ = phase.loss(part, StepRandom(seed=0, images_seen=0), *extra[name])
                loss.backward(inputs=parameters)


def images_at_once(config: TrainConfig) -> int:
    return min(config.run.batch_size, config.run.micro_batch or config.run.batch_size)


def one_at_a_time(config: TrainConfig) -> TrainConfig:
    """Of two images: the peak of this step is the least that `run.micro_batch` comes to."""
    return dataclasses.replace(config, run=dataclasses.replace(config.run, batch_size=2, micro_batch=1))


def images_that_fit(config: TrainConfig, work: Work, single: Work, memory: int) -> int:
    """How many images at once, fewer than `config` has, leave the peak below `memory`; 0 for none.

    Between one image and all, the peak lies below the line through both: in steps of few images weights prevail.

    Args:
        work: of `config`.
        single: of `one_at_a_time(config)`.
    """
    fewer = images_at_once(config) - 1
    if fewer == 0 or single.peak_bytes > memory:
        return 0
    gradients = 4 * sum(work.trainable.values())  # which wait for a batch's other parts, where there are any
    slope = (work.peak_bytes + gradients - single.peak_bytes) / fewer
    return min(1 + int((memory - single.peak_bytes) / slope), fewer)


def _batch(config: TrainConfig, device: torch.device) -> Batch:
    size = (config.run.batch_size, config.data.height, config.data.width)
    real = torch.empty(size[0], 3, *size[1:], device=device).to(memory_format=torch.channels_last)
    label_map = torch.empty(size, dtype=torch.int64, device=device)
    offsets = torch.empty(size[0], 2, *size[1:], device=device) if config.generator.instances else None
    return Batch(real, label_map, range(size[0]), offsets)


def measure_rates(config: TrainConfig) -> Rates:
    """The best of a few rounds, on the configuration's device and in its precision."""
    device = pick_device(config.run.device)
    dtype = torch.bfloat16 if use_bf16(device, config.run.precision) else torch.float32
    size, elements = MATMUL_SIZE[device.type], COPY_BYTES[device.type] // 4
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    x, y = torch.rand(2, elements, device=device)
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:  # as convolutions do
        torch.set_float32_matmul_precision("high")
    product = _best_seconds(lambda: a @ b, device)
    torch.set_float32_matmul_precision(before)
    return Rates(2 * size**3 / product, 3 * 4 * elements / _best_seconds(lambda: x * y, device))


def _best_seconds(task: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(ROUNDS + 1):  # the first one warms up
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def device_memory(config: TrainConfig) -> int:
    """Bytes that the configuration's device has, or that this process may take of them."""
    device = pick_device(config.run.device)
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return main_memory()

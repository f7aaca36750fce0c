"""The folded graph paints what the training graph paints, with weights that are all but trivial."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpsims import inference
from dpsims.folded import ClassConv
from dpsims.generator import Generator
from dpsims.inference import InferenceGenerator, inference_graph, pieces
from dpsims.labels import onehot

CLASSES = 5
TINY = {"num_classes": CLASSES, "channel_base": 4, "cond_channels": 8, "spade_hidden": 8, "w_dim": 16, "z_dim": 8}
VARIANTS = [
    {"height": 64, "width": 96, "attention_size": 32},
    {"height": 64, "width": 96, "attention_size": 32, "instances": True},
    {"height": 64, "width": 64, "attention_size": 64},  # the first level attends
    {"height": 32, "width": 64, "attention_size": 32, "instances": True},
    {"height": 128, "width": 96, "attention_size": 16},  # three levels do not see z
]


def named(variant: dict) -> str:
    return " ".join(f"{name}={value}" for name, value in variant.items())


@torch.no_grad()
def trained(seed: int = 0, **changes) -> Generator:
    """Statistics, gates, biases and singular vectors far from where they start."""
    torch.manual_seed(seed)
    net = Generator(**(TINY | changes))
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        *_, kind = name.split(".")
        if kind in ("running_var", "gate") or (kind == "weight" and tensor.ndim == 1):  # the latter of batch norms
            tensor.uniform_(0.5, 1.5)
        elif kind in ("running_mean", "bias"):
            tensor.uniform_(-0.5, 0.5)
        elif kind in ("_u", "_v"):
            tensor.copy_(F.normalize(tensor + 0.3 * torch.randn_like(tensor) / len(tensor) ** 0.5, dim=0))
    return net.eval()


def inputs(net: Generator, maps: int, noises: int) -> tuple[list[Tensor], Tensor]:
    """Label maps with ignored pixels at the borders and inside, offsets if the generator takes them; z."""
    rng = torch.Generator().manual_seed(1)
    label_map = torch.randint(0, CLASSES, (maps, net.height, net.width), generator=rng)
    label_map[:, :2], label_map[:, :, -1], label_map[-1, 15:20, 15:30] = 255, 255, 255
    offsets = torch.rand(maps, 2, net.height, net.width, generator=rng) * 2 - 1
    return [label_map, offsets][: 2 if net.instances else 1], torch.randn(noises, net.z_dim, generator=rng)


def one_by_one(net: nn.Module, conditions: list[Tensor], z: Tensor, rows: list[int]) -> Tensor:
    """Each image from a pass of its own."""
    return torch.cat(
        [net.decode(net.encode(*(c[row, None] for c in conditions)), z[i, None]) for i, row in enumerate(rows)]
    )


@pytest.mark.parametrize("piece", [1, 2**14, 2**30])  # bytes: image by image, a few images at once, all
@pytest.mark.parametrize("variant", VARIANTS, ids=named)
@torch.no_grad()
def test_images_are_those_of_the_training_graph(variant, piece, monkeypatch):
    monkeypatch.setitem(inference.PIECE, "cpu", piece)
    net = trained(**variant)
    folded = InferenceGenerator(net)
    conditions, z = inputs(net, 2, 6)
    expected = one_by_one(net, conditions, z, [0, 0, 0, 1, 1, 1])
    images = folded.decode(folded.encode(*conditions), z)
    assert (images - expected).abs().max() < 1e-5 < 0.1 < expected.std()
    assert images.dtype == torch.float32 and images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(folded(conditions[0], z, *conditions[1:]), images)


@pytest.mark.parametrize("piece", [1, 2**30])
@pytest.mark.parametrize("variant", [VARIANTS[1], VARIANTS[2]], ids=named)
@torch.no_grad()
def test_label_maps_may_have_unequally_many_samples_in_any_order(variant, piece, monkeypatch):
    monkeypatch.setitem(inference.PIECE, "cpu", piece)
    net = trained(**variant)
    folded = InferenceGenerator(net)
    rows = [2, 0, 0, 0, 2]  # none of map 1
    conditions, z = inputs(net, 3, len(rows))
    images = folded.decode(folded.encode(*conditions), z, torch.tensor(rows))
    assert (images - one_by_one(net, conditions, z, rows)).abs().max() < 1e-5


def test_pieces_hold_every_image_once_with_its_map():
    assert list(pieces(6, 2, None, 6)) == [(slice(2), slice(6))]
    assert list(pieces(6, 2, None, 2)) == [
        (slice(0, 1), slice(0, 2)), (slice(0, 1), slice(2, 3)), (slice(1, 2), slice(3, 5)), (slice(1, 2), slice(5, 6))
    ]  # fmt: skip
    assert list(pieces(4, 3, torch.tensor([2, 2, 0, 2]), 9)) == [
        (slice(2, 3), slice(0, 2)), (slice(0, 1), slice(2, 3)), (slice(2, 3), slice(3, 4))
    ]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=named)
@torch.inference_mode()
def test_bf16_is_as_near_as_the_training_graph_in_bf16(variant):
    net = trained(**variant)
    conditions, z = inputs(net, 2, 4)
    exact = net.decode(net.encode(*conditions), z)
    single, half = InferenceGenerator(net), InferenceGenerator(net, torch.bfloat16)
    found = {"plain": half.decode(half.encode(*conditions), z)}
    with torch.autocast("cpu", torch.bfloat16):
        training = net.decode(net.encode(*conditions), z)
        found |= {name: g.decode(g.encode(*conditions), z) for name, g in (("single", single), ("half", half))}
    nearness = (training - exact).abs().mean()
    for images in found.values():
        assert images.dtype == torch.float32
        assert 0 < (images - exact).abs().mean() < 1.2 * nearness
        assert (images - exact).abs().mean() < 0.02 * exact.std()
        assert (images - training).abs().mean() < 0.02 * exact.std()
    assert torch.equal(found["plain"], found["half"])


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch():
    folded = InferenceGenerator(trained(**VARIANTS[0]))
    (label_map,), z = inputs(folded, 2, 6)
    together = folded(label_map, z)
    torch.testing.assert_close(one_by_one(folded, [label_map], z, [0, 0, 0, 1, 1, 1]), together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("instances", [False, True])
@torch.no_grad()
def test_looking_up_ids_is_the_convolution_of_their_one_hot_map(dtype, instances):
    """Whole numbers, and offsets in eighths, so that no sum is rounded."""
    rng = torch.Generator().manual_seed(0)
    channels = 7 + 2 * instances
    weight = torch.randint(-8, 9, (6, channels, 3, 3), generator=rng).float()
    bias = torch.randint(-8, 9, (6,), generator=rng).float()
    label_map = torch.randint(0, 8, (2, 9, 5), generator=rng).to(dtype)
    label_map[label_map == 7] = 255
    label_map[0, 0] = label_map[1, :, -1] = 255
    x, offsets = onehot(label_map, 7), torch.randint(-8, 9, (2, 2, 9, 5), generator=rng) / 8
    expected = F.conv2d(torch.cat([x, offsets], dim=1) if instances else x, weight, bias, padding=1)
    found = ClassConv(weight.double(), bias.double(), 7)(label_map, *([offsets] if instances else []))
    assert torch.equal(found, expected)


@torch.no_grad()
def test_no_weight_is_dropped():
    """Every kind of tensor of the training graph changes the folded weights; their images are compared above."""
    net = trained(
        height=64, width=64, attention_size=32, instances=True, channel_base=1, cond_channels=4, spade_hidden=4
    )
    kinds = {}
    for name, tensor in net.state_dict().items():
        kinds.setdefault(re.sub(r"^(blocks|levels|downs)\.\d", r"\1", name), []).append(tensor)
    assert len(kinds) > 100
    before = InferenceGenerator(net).state_dict()
    unseen = []
    for kind, tensors in kinds.items():
        kept = [tensor.clone() for tensor in tensors]
        for tensor in tensors:
            tensor.add_(1)
        after = InferenceGenerator(net).state_dict()
        if all(torch.equal(after[name], tensor) for name, tensor in before.items()):
            unseen.append(kind)
        for tensor, old in zip(tensors, kept, strict=True):
            tensor.copy_(old)
    unseen = [kind for kind in unseen if not kind.endswith("num_batches_tracked")]
    assert unseen == [
        "levels.cross_attention.key.bias"
    ]  # the same for the scores of all tokens: softmax is blind to it


@torch.no_grad()
def test_the_training_graph_and_the_random_state_stay_as_they_are():
    net = trained(**VARIANTS[0])
    (label_map,), z = inputs(net, 1, 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    image, state = net(label_map, z), torch.get_rng_state()
    folded = InferenceGenerator(net)
    folded_image = folded(label_map, z)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(net(label_map, z), image)

    assert not any(p.requires_grad for p in folded.parameters())
    for tensor in net.state_dict().values():
        tensor.zero_()
    assert torch.equal(folded(label_map, z), folded_image)


def test_the_graph_is_of_generators_alone_in_the_precision_asked_for():
    other = nn.Identity()
    assert inference_graph(other, bf16=True) is other
    for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        graph = inference_graph(trained(**VARIANTS[0]), bf16=bf16)
        assert isinstance(graph, InferenceGenerator) and graph.downs[0].weight.dtype == dtype
        assert graph.to_rgb.weight.dtype == torch.float32

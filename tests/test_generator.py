import pytest
import torch
from torch import nn

from dpsims.generator import CHANNEL_DEPTHS, Generator
from dpsims.layers import SPADE, ConvBlock, CrossAttention, SelfAttention, SPADEResBlock

TINY = {"num_classes": 5, "height": 64, "width": 96, "channel_base": 4, "cond_channels": 8, "spade_hidden": 8}
TINY |= {"attention_size": 32, "gate_init": 1.0}


def tiny(**changes) -> Generator:
    torch.manual_seed(0)
    return Generator(**(TINY | changes))


def inputs(maps: int, noises: int, height: int = 64, width: int = 96):
    rng = torch.Generator().manual_seed(1)
    label_map = torch.randint(0, 5, (maps, height, width), generator=rng)
    label_map[:, :3] = 255
    return label_map, torch.randn(noises, 64, generator=rng)


def test_table_s2():
    """The defaults are the paper's: channel depths, pyramid widths, z and w, block counts, no tanh."""
    with torch.device("meta"):
        G = Generator(num_classes=151, height=256, width=256)
    assert [depth * 64 for depth in CHANNEL_DEPTHS] == [1024, 1024, 1024, 512, 256, 128, 64]
    assert G.start.out_channels == 1024
    assert [(b.conv_0.in_channels, b.conv_1.out_channels) for b in G.blocks] == [
        (1024, 1024), (1024, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)
    ]  # fmt: skip
    assert len(G.levels) == 6 and [type(level) for level in G.levels[:2]] == [ConvBlock, ConvBlock]
    pyramid = G.levels[2]
    assert [name for name, _ in pyramid.named_children()] == [
        "conv_in", "norm_0", "cross_attention", "norm_1", "self_attention", "norm_2", "conv_out"
    ]  # fmt: skip
    assert all(level.conv_out.out_channels == 64 for level in G.levels[2:])
    assert G.levels[0][0].in_channels == 151 and G.levels[0][3].out_channels == 64
    assert isinstance(pyramid.self_attention, SelfAttention) and pyramid.cross_attention.query.out_channels == 32
    assert G.mapping.hidden.in_features == G.z_dim == 64 and G.mapping.w_dim == 256
    assert all(down.stride == (2, 2) for down in G.downs)
    assert not any(isinstance(module, nn.Tanh) for module in G.modules())
    for spade in (m for m in G.modules() if isinstance(m, SPADE)):
        assert spade.shared.in_channels == 64 and not spade.norm.affine


def test_spectral_norm_is_on_every_convolution_and_linear_layer():
    layers = [module for module in tiny().modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert layers and all("weight" in layer.parametrizations for layer in layers)


def test_attention_levels_follow_the_size():
    """The default is the paper's: attention at 64x64 and below, whatever the longer side is."""
    for size, free in {(256, 256): 2, (256, 512): 2, (512, 512): 3, (64, 64): 0}.items():
        assert tiny(height=size[0], width=size[1], attention_size=64).free == free


@pytest.mark.parametrize("size", [(48, 64), (0, 32), (64, 100)])
def test_sizes_that_are_no_multiple_of_32_are_refused(size):
    with pytest.raises(ValueError, match=f"multiple of 32: height={size[0]}, width={size[1]}"):
        Generator(num_classes=2, height=size[0], width=size[1])


@pytest.mark.parametrize("attention_size", [16, 32, 64])
def test_every_parameter_gets_a_gradient(attention_size):
    G = tiny(attention_size=attention_size, instances=True)
    for module in G.modules():
        if isinstance(module, SelfAttention):
            nn.init.ones_(module.gate)
    label_map, z = inputs(2, 2)
    G(label_map, z, torch.rand(2, 2, 64, 96)).square().mean().backward()
    without = [name for name, p in G.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a bias right before a batch norm shifts what the norm subtracts again
    without = [name for name in without if not name.endswith("bias")]
    assert not without


def test_gates_leave_their_start_at_zero():
    G = tiny(gate_init=0.0)
    label_map, z = inputs(2, 2)
    G(label_map, z).square().mean().backward()
    gates = [module.gate.grad for module in G.modules() if isinstance(module, CrossAttention)]
    assert gates and all(gate != 0 for gate in gates)


def test_z_changes_the_image_and_differently_over_space():
    G = tiny().eval()
    label_map, z = inputs(1, 2)
    with torch.no_grad():
        a, b = G(label_map, z)
    change = (a - b).abs().mean(0)
    assert change.mean() > 1e-3 and change.std() > 0.1 * change.mean()


def test_several_tokens_act_differently_over_space_and_one_does_not():
    torch.manual_seed(0)
    x, tokens = torch.randn(1, 8, 4, 4), torch.randn(1, 6, 256)
    attention = CrossAttention(8, 256, gate_init=1.0).eval()
    several, single = attention(x, tokens) - x, attention(x, tokens[:, :1]) - x
    assert several.flatten(2).std(dim=2).max() > 1e-3
    assert single.flatten(2).std(dim=2).max() < 1e-5


def test_z_counts_by_its_direction_alone():
    G = tiny().eval()
    label_map, z = inputs(1, 1)
    with torch.no_grad():
        torch.testing.assert_close(G(label_map, z), G(label_map, 7 * z))


def test_images_are_fp32_under_autocast():
    G = tiny().eval()
    label_map, z = inputs(1, 1)
    with torch.no_grad():
        exact = G(label_map, z)
        with torch.autocast("cpu", torch.bfloat16):
            image = G(label_map, z)
    assert image.dtype == torch.float32
    assert (image - exact).abs().mean() < 0.02 * exact.std()


def test_encoding_once_equals_encoding_for_each_sample():
    G = tiny().eval()
    label_map, z = inputs(2, 6)
    with torch.no_grad():
        together = G.decode(G.encode(label_map), z)  # three samples a map
        apart = torch.cat([G(label_map[i // 3, None], z[i, None]) for i in range(6)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_conditioning_does_not_depend_on_z():
    """What `encode` returns has the levels above the attention size; `decode` alone takes z."""
    G = tiny(attention_size=16).eval()
    conditioning = G.encode(inputs(1, 1)[0])
    assert sorted(conditioning.modulations) == [4, 5]
    assert conditioning.stem.shape == (1, 8, 16, 24) and conditioning.start.shape == (1, 64, 2, 3)


def test_ignored_pixels_are_no_class():
    G = tiny().eval()
    label_map, z = inputs(1, 1)
    with torch.no_grad():
        image = G(label_map, z)
        assert not torch.equal(image, G(torch.where(label_map == 255, 0, label_map), z))


def test_spade_with_zero_gamma_and_beta_is_its_norm():
    spade = SPADE(3, 4, 5)
    x, cond = torch.randn(2, 3, 4, 4), torch.randn(2, 4, 4, 4)
    gamma, beta = (torch.zeros_like(m) for m in spade.modulation(cond))
    torch.testing.assert_close(spade(x, (gamma, beta)), nn.BatchNorm2d(3, affine=False)(x))


def test_spade_of_one_map_serves_all_its_samples():
    block = SPADEResBlock(4, 3, 2, 5).eval()
    x, cond = torch.randn(4, 4, 5, 6), torch.randn(2, 2, 5, 6)
    shared = block(x, block.modulations(cond))
    repeated = block(x, block.modulations(cond.repeat_interleave(2, dim=0)))
    torch.testing.assert_close(shared, repeated)


def test_full_size_forward_and_backward():
    torch.manual_seed(0)
    G = Generator(num_classes=151, height=256, width=256)
    image = G(torch.randint(0, 151, (1, 256, 256)), torch.randn(1, 64))
    assert image.shape == (1, 3, 256, 256)
    image.square().mean().backward()
    assert all(p.grad is not None for p in G.parameters())

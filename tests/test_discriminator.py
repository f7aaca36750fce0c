import pytest
import timm
import torch
from torch import nn

from dpsims.backbone import Backbone
from dpsims.discriminator import Discriminator, FeatureConditioning
from dpsims.pretrained import create_features, efficientnet_lite0_weights


def lite0(**options) -> Backbone:
    return Backbone("tf_efficientnet_lite0", **(dict(pretrained=True, image_size=(64, 96)) | options))


def test_table_s3():
    D = Discriminator(backbone=lite0(), num_classes=11)
    assert len(D.conditioning) == 4 and len(D.blocks) == 5
    assert [block.conv_0.out_channels for block in D.blocks] == [320, 112, 40, 24, 128]  # lite0's widths, then 128
    assert [block.conv_0.kernel_size for block in D.blocks] == [(3, 3)] * 5
    assert [block.conv_1.kernel_size for block in D.blocks] == [(1, 1)] * 5
    assert D.head.in_channels == 256 and D.head.out_channels == 12
    assert isinstance(D.conditioning[0].nonlinearity, nn.Sigmoid)
    assert isinstance(D.conditioning[0].norm, nn.BatchNorm2d) and not D.conditioning[0].norm.affine
    trained = [m for name, m in D.named_modules() if isinstance(m, nn.Conv2d) and not name.startswith("backbone")]
    assert all("weight" in layer.parametrizations for layer in trained)


def test_gradients_reach_the_decoder_and_the_image_and_not_the_backbone():
    torch.manual_seed(0)
    D = Discriminator(backbone=lite0(), num_classes=3)
    image = torch.randn(2, 3, 64, 96, requires_grad=True)
    logits = D(image)
    assert logits.shape == (2, 4, 64, 96)
    logits.square().mean().backward()
    for name, parameter in D.named_parameters():
        if name.startswith("backbone."):
            assert parameter.grad is None and not parameter.requires_grad, name
        else:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert image.grad.abs().sum() > 0


def test_a_frozen_backbone_stays_in_eval_and_out_of_the_checkpoint():
    D = Discriminator(backbone=lite0(), num_classes=3).train()
    assert not any(module.training for module in D.backbone.net.modules()) and D.blocks.training
    state = D.state_dict()
    assert state and not any("backbone" in key for key in state)
    other = Discriminator(backbone=lite0(), num_classes=3)
    other.load_state_dict(state)  # strict
    torch.testing.assert_close(other.eval()(torch.ones(1, 3, 64, 96)), D.eval()(torch.ones(1, 3, 64, 96)))


def test_a_trained_backbone_gets_gradients_and_is_saved():
    D = Discriminator(backbone=lite0(frozen=False), num_classes=3).train()
    D(torch.randn(2, 3, 64, 96)).mean().backward()
    assert D.backbone.net.conv_stem.weight.grad.abs().sum() > 0
    assert "backbone.net.conv_stem.weight" in D.state_dict()


def test_conditioning_by_hand():
    """Non-linearity first, then a batch norm without affine."""
    x = torch.tensor([-1.0, 0.0, 2.0, 5.0]).view(4, 1, 1, 1)
    for name, function in {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "none": lambda v: v}.items():
        y = function(x)
        expected = (y - y.mean()) / (y.var(unbiased=False) + 1e-5).sqrt()
        conditioned = FeatureConditioning(1, nonlinearity=name, normalization="batch")(x)
        torch.testing.assert_close(conditioned, expected)
        torch.testing.assert_close(FeatureConditioning(1, nonlinearity=name, normalization="none")(x), y)


def test_unknown_conditioning_is_refused():
    with pytest.raises(ValueError, match="not 'relu'"):
        Discriminator(backbone=lite0(), num_classes=3, nonlinearity="relu")
    with pytest.raises(ValueError, match="not 'group'"):
        Discriminator(backbone=lite0(), num_classes=3, normalization="group")


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224"])
def test_backbones_of_all_kinds(name):
    backbone = Backbone(name, pretrained=False, image_size=(64, 96))
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(f.shape[2:]) for f in features] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [f.shape[1] for f in features] == backbone.channels


def test_vgg19_has_the_contrastive_channels_of_table_s2():
    vgg = Backbone("vgg19", pretrained=False, image_size=(64, 64), strides=(1, 2, 4, 8, 16))
    assert vgg.channels == [64, 128, 256, 512, 512]


def test_images_are_normalised_as_the_network_was_trained():
    backbone = Backbone("resnet18", pretrained=False, image_size=(64, 64))
    white = backbone(torch.ones(1, 3, 64, 64))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = backbone.net(((1 - mean) / std).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    torch.testing.assert_close(white[0], expected[1])


def test_lite0_weights_fit_timm_by_name_shape_and_order():
    """Both list their 296 tensors in the order of the network, so a wrong renaming would show."""
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = efficientnet_lite0_weights()
    assert list(weights) == list(net.state_dict())
    net.load_state_dict(weights, strict=True)
    features = create_features("tf_efficientnet_lite0", pretrained=True)
    torch.testing.assert_close(features.conv_stem.weight, weights["conv_stem.weight"])


def test_names_and_weight_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no model 'resnet19'; did you mean resnet1"):
        create_features("resnet19", pretrained=False)
    with pytest.raises(ValueError, match="strides .*missing"):
        Backbone("vit_tiny_patch16_224", pretrained=False, image_size=(64, 64))
    with pytest.raises(ValueError, match="no such file: nowhere.pth"):
        create_features("resnet18", pretrained=True, weights="nowhere.pth")


def test_a_local_weight_file_is_loaded_whole_or_refused(tmp_path):
    torch.manual_seed(3)
    source = create_features("resnet18", pretrained=False)
    state = source.state_dict()
    torch.save(state, tmp_path / "whole.pth")
    loaded = create_features("resnet18", pretrained=True, weights=str(tmp_path / "whole.pth"))
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, state[key])
    torch.save({key: value for key, value in state.items() if "layer4" not in key}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part.pth lacks .* of the weights of 'resnet18', such as layer4"):
        create_features("resnet18", pretrained=True, weights=str(tmp_path / "part.pth"))


def test_full_size_with_convnext_large():
    torch.manual_seed(0)
    D = Discriminator(backbone=Backbone("convnext_large", pretrained=False, image_size=(256, 256)), num_classes=151)
    assert [block.conv_0.out_channels for block in D.blocks] == [1536, 768, 384, 192, 128]
    image = torch.randn(1, 3, 256, 256, requires_grad=True)
    logits = D(image)
    assert logits.shape == (1, 152, 256, 256)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in D.parameters() if p.requires_grad)
    assert all(p.grad is None for p in D.backbone.parameters()) and image.grad.abs().sum() > 0

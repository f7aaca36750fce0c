import torch

from dpsims.diff_augment import DRAWS, DiffAugment

LABELS = torch.arange(8 * 16).view(1, 8, 16) % 5


def draws(**values: float) -> torch.Tensor:
    """Numbers that change nothing, but for those given."""
    names = ["brightness", "saturation", "contrast", "down", "right", "row", "column"]
    neutral = dict.fromkeys(names, 0.5)
    return torch.tensor([[(neutral | values)[name] for name in names]])


def test_no_policies_change_nothing():
    image = torch.randn(2, 3, 8, 16)
    change = DiffAugment([], torch.rand(2, DRAWS))
    assert torch.equal(change.images(image), image)
    assert torch.equal(change.label_map(LABELS), LABELS)


def test_color_by_hand():
    image = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    neutral = DiffAugment(["color"], draws()).images(image)
    torch.testing.assert_close(neutral, image)
    brighter = DiffAugment(["color"], draws(brightness=0.75)).images(image)
    torch.testing.assert_close(brighter, image + 0.25)
    grey = DiffAugment(["color"], draws(saturation=0.0)).images(image)
    torch.testing.assert_close(grey, torch.full_like(image, 0.4))
    flat = DiffAugment(["color"], draws(contrast=0.0)).images(image)
    torch.testing.assert_close(flat, (image - 0.4) / 2 + 0.4)


def test_label_maps_move_with_their_images():
    """Down by 1 of 8 rows, to the left by 2 of 16 columns; what comes into view is 0, and ignored."""
    change = DiffAugment(["translation"], draws(down=0.99, right=0.0))
    moved = change.label_map(LABELS)
    assert torch.equal(moved[:, 1:, :-2], LABELS[:, :-1, 2:])
    assert (moved[:, 0] == 255).all() and (moved[:, :, -2:] == 255).all()
    image = LABELS.unsqueeze(1).expand(1, 3, 8, 16).float() + 1
    expected = torch.where(moved == 255, 0, moved + 1).unsqueeze(1).expand_as(image)
    assert torch.equal(change.images(image), expected.float())
    assert torch.equal(change.mask(torch.ones_like(LABELS, dtype=torch.bool)), moved != 255)


def test_cutout_blanks_a_square_of_half_the_side():
    cut = DiffAugment(["cutout"], draws(row=0.5, column=0.25)).label_map(LABELS)
    expected = LABELS.clone()
    expected[:, 2:6, 0:8] = 255
    assert torch.equal(cut, expected)


def test_gradients_reach_what_is_left_of_the_image():
    image = torch.randn(1, 3, 8, 16, requires_grad=True)
    change = DiffAugment(["color", "translation", "cutout"], draws(down=0.9, row=0.2, brightness=0.1))
    change.images(image).sum().backward()
    assert image.grad.isfinite().all() and image.grad.abs().sum() > 0

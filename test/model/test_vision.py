import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from loc3r_ros.model.config import preset
from loc3r_ros.model.vision import VisionTower, bilinear_taps, pool_patches


@pytest.mark.parametrize(("grid", "stride"), [(27, 2), (9, 2), (8, 2), (5, 1), (7, 3)])
def test_bilinear_pooling_is_torchs_interpolation(grid, stride):
    patches = torch.randn(2, grid * grid, 3, generator=torch.Generator().manual_seed(0))
    side = -(-grid // stride)
    image = patches.transpose(1, 2).reshape(2, 3, grid, grid)
    expected = F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        pool_patches(patches, "bilinear", stride), expected.flatten(2).transpose(1, 2), atol=1e-5, rtol=0
    )


def test_taps_of_the_7b():
    taps = bilinear_taps(27, 14)
    assert taps[0, :2].tolist() == pytest.approx([0.5357, 0.4643], abs=1e-4)
    assert taps[1, 2:4].tolist() == pytest.approx([0.6071, 0.3929], abs=1e-4)
    assert taps[3, 6:8].tolist() == pytest.approx([0.75, 0.25], abs=1e-4)
    np.testing.assert_allclose(taps.sum(dim=1), 1)


def test_average_pooling_drops_the_last_row_and_column():
    patches = torch.zeros(1, 9, 1)
    patches[0, :, 0] = torch.arange(9)
    assert pool_patches(patches, "average", 2).flatten().tolist() == [2.0]  # mean of 0, 1, 3, 4


def test_the_tower_never_sees_the_last_pixels_and_uses_no_norm_at_the_end():
    torch.manual_seed(0)
    tower = VisionTower(preset("tiny").vision).eval()  # 32 pixels, patches of 6: the last two are left over
    frame = torch.rand(1, 3, 32, 32)
    changed = frame.clone()
    changed[..., 30:] = 0
    changed[..., 30:, :] = 0
    with torch.no_grad():
        features = tower(frame)
        assert torch.equal(features, tower(changed))
        tower.post_layernorm.weight.fill_(9.0)
        assert torch.equal(features, tower(frame))
        changed[0, 0, 29, 29] += 1
        assert not torch.equal(features, tower(changed))

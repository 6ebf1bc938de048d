import numpy as np
import pytest

from loc3r_ros.data.cache import FeatureCache, SceneFeatures


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    return SceneFeatures(*(random.normal(size=size).astype(np.float16) for size in ((12, 25, 8), (12, 6))))


def test_what_is_put_comes_back(tmp_path, features):
    cache = FeatureCache.open(tmp_path, "key")
    assert cache.get(4) is None
    cache.put(4, features)
    for found, given in zip(cache.get(4), features, strict=True):
        np.testing.assert_array_equal(found, given)
        assert found.dtype == np.float16
    assert [path.name for path in (tmp_path / "key").iterdir()] == ["4.npz"]


def test_keys_do_not_mix(tmp_path, features):
    FeatureCache.open(tmp_path, "one").put(4, features)
    assert FeatureCache.open(tmp_path, "other").get(4) is None


@pytest.mark.parametrize("length", [0, 10, 400])
def test_a_damaged_file_counts_as_missing(tmp_path, features, length):
    cache = FeatureCache.open(tmp_path, "key")
    cache.put(4, features)
    file = tmp_path / "key" / "4.npz"
    file.write_bytes(file.read_bytes()[:length])
    assert cache.get(4) is None

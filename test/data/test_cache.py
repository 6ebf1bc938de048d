import numpy as np
import pytest

from loc3r_ros.data.cache import FeatureCache, SceneFeatures


@pytest.fixture
def features(scene):
    random = np.random.default_rng(0)
    return SceneFeatures(
        scene.truth,
        random.normal(size=(12, 25, 8)).astype(np.float16),
        random.normal(size=(12, 6)).astype(np.float16),
    )


def test_what_is_put_comes_back(tmp_path, features):
    cache = FeatureCache.open(tmp_path, "key")
    assert cache.get(4) is None
    cache.put(4, features)
    found = cache.get(4)
    for name in ("vision", "camera"):
        np.testing.assert_array_equal(getattr(found, name), getattr(features, name))
        assert getattr(found, name).dtype == np.float16
    np.testing.assert_array_equal(found.truth.layout, features.truth.layout)
    assert found.truth.questions == features.truth.questions
    assert [path.name for path in (tmp_path / "key").iterdir()] == ["4.npz"]


def test_keys_do_not_mix(tmp_path, features):
    FeatureCache.open(tmp_path, "one").put(4, features)
    assert FeatureCache.open(tmp_path, "other").get(4) is None


@pytest.mark.parametrize("length", [0, 10, 5000])
def test_a_damaged_file_counts_as_missing(tmp_path, features, length):
    cache = FeatureCache.open(tmp_path, "key")
    cache.put(4, features)
    file = tmp_path / "key" / "4.npz"
    file.write_bytes(file.read_bytes()[:length])
    assert cache.get(4) is None

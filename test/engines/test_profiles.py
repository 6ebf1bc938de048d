"""Ranges of sizes: two for the language graph, none where nothing varies."""

from loc3r_ros.engines import Manifest
from loc3r_ros.engines.profiles import fits, profiles


def test_one_token_and_several(engine_folder):
    manifest = Manifest.read(engine_folder("tiny", "fp16"))
    single, several = profiles(manifest.graphs["language"], manifest.dimensions)
    assert single["embeddings"] == ((1, 32), (1, 32), (1, 32))
    assert several["embeddings"] == ((1, 32), (13, 32), (1536, 32))
    assert single["prefix_key.0"] == several["prefix_key.0"] == ((44, 2, 8), (96, 2, 8), (4096, 2, 8))
    assert single["layout_rows"] == ((0,), (1,), (1,)) and several["layout_rows"] == ((0,), (9,), (9,))
    assert "start" not in single  # its shape is fixed
    assert single.keys() == several.keys()


def test_graphs_of_fixed_shape_have_none(engine_folder):
    manifest = Manifest.read(engine_folder("tiny", "fp16"))
    assert profiles(manifest.graphs["vision"], manifest.dimensions) == []


def test_what_fits():
    profile = {"x": ((1, 4), (2, 4), (3, 4))}
    assert fits(profile, {"x": (3, 4)}) and not fits(profile, {"x": (4, 4)}) and not fits(profile, {"x": (0, 4)})
    assert fits({}, {"x": (99,)})

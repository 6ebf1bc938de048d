import pytest

from loc3r_ros.errors import CheckpointError
from loc3r_ros.model.checkpoint import empty_model, shapes_of
from loc3r_ros.model.config import preset
from loc3r_ros.model.hub_layout import map_names, official_name, our_name, pose_prior_prefix

OURS = shapes_of(empty_model(preset("mid")))
WIDTH = preset("mid").language.hidden_size
CAMERA = preset("mid").pose_prior.camera_dim


def is_new(name):
    return name.startswith(("camera.", "heads."))


BASE = {official_name(name): shape for name, shape in OURS.items() if not is_new(name)}


def mlp(root, outputs, inputs=WIDTH, steps=("0", "2")):
    return {
        f"{root}.{steps[0]}.weight": (WIDTH, inputs),
        f"{root}.{steps[0]}.bias": (WIDTH,),
        f"{root}.{steps[1]}.weight": (outputs, WIDTH),
        f"{root}.{steps[1]}.bias": (outputs,),
    }


def linear(root, outputs):
    return {f"{root}.weight": (outputs, WIDTH), f"{root}.bias": (outputs,)}


def new_parts(camera="model.camera_projector", layout="bev_head", position="pos_head", orientation="ori_head"):
    return mlp(camera, WIDTH, CAMERA) | linear(layout, 4) | mlp(position, 4) | mlp(orientation, 36)


def test_every_official_name_has_one_of_ours():
    assert len({our_name(name) for name in BASE}) == len(BASE)
    names = map_names(BASE, OURS)
    assert set(names.values()) == {name for name in OURS if not is_new(name)}


@pytest.mark.parametrize(
    "parts",
    [
        new_parts(),
        new_parts("f_cam", "model.f_proj", "a.b.c", "zzz"),  # shapes alone are enough
        mlp("model.cam", WIDTH, CAMERA, ("fc1", "fc2"))
        | linear("layout.head.proj", 4)
        | mlp("position", 4, steps=("linear_1", "linear_2"))
        | mlp("heading.mlp", 36),
    ],
)
def test_new_parts_are_found_by_shape(parts):
    names = map_names(BASE | parts, OURS)
    assert set(names.values()) == set(OURS)
    assert len(names) == len(BASE) + len(parts)
    for theirs, ours in names.items():
        assert (BASE | parts)[theirs] == OURS[ours]
    assert {ours.rsplit(".", 1)[1] for theirs, ours in names.items() if theirs.endswith("bias")} == {"bias"}


def test_names_settle_what_shapes_leave_open():
    parts = new_parts(layout="bev_layout") | linear("unrelated", 4)
    with pytest.raises(CheckpointError, match=r"unexpected: unrelated\.bias, unrelated\.weight\."):
        map_names(BASE | parts, OURS)  # the layout head was found; what is left over is not swallowed


def test_ambiguity_names_the_candidates():
    parts = new_parts(layout="first") | linear("second", 4)
    with pytest.raises(CheckpointError, match=r"several candidates for the part `heads.layout`.*: first, second\."):
        map_names(BASE | parts, OURS)


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.3.mlp.up_proj.weight", "model.image_newline"])
def test_a_missing_tensor_is_named(name):
    with pytest.raises(CheckpointError, match=f"missing: {name}"):
        map_names({key: shape for key, shape in BASE.items() if key != name}, OURS)


def test_an_unexpected_tensor_is_named():
    with pytest.raises(CheckpointError, match=r"unexpected: model\.vision_resampler\.latents"):
        map_names(BASE | {"model.vision_resampler.latents": (3, 3)}, OURS)


def test_a_misshaped_tensor_is_named():
    wrong = BASE | {"model.mm_projector.0.weight": (7, 7)}
    with pytest.raises(CheckpointError, match=r"wrong shape: model\.mm_projector\.0\.weight is \[7, 7\] instead of"):
        map_names(wrong, OURS)


def test_many_problems_stay_one_sentence():
    with pytest.raises(CheckpointError, match=r"and \d+ more") as error:
        map_names({}, OURS)
    assert len(str(error.value)) < 1000


def test_an_embedded_pose_prior_is_found():
    names = ["model.spatial_tower.cut3r.pose_retriever.mem", "model.spatial_tower.cut3r.enc_norm.weight"]
    assert pose_prior_prefix([*BASE, *names]) == "model.spatial_tower.cut3r."
    assert pose_prior_prefix(BASE) is None
    with pytest.raises(CheckpointError, match="several pose priors"):
        pose_prior_prefix(["a.pose_retriever.mem", "b.pose_retriever.mem"])

"""Made-up videos, and a localizer that knows the truth about them and errs as it is told to."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from loc3r_ros import geometry
from loc3r_ros.evaluation.clips import Clip, Described
from loc3r_ros.evaluation.readers import Landmark, Reading
from loc3r_ros.evaluation.run import PERIOD, Plan, Subject
from loc3r_ros.interface import Keyframe, Layout, Place, Reply
from loc3r_ros.localizer.places import BIN_CENTRES, wrapped_normal
from loc3r_ros.world.bev import anchor_poses
from loc3r_ros.world.camera import look
from loc3r_ros.world.ceiling import Ceiling
from loc3r_ros.world.questions import Question

FIRST_SEED = 1_100_000
ANSWERS = {"is": ("yes", "no"), "direction": ("forward", "left", "backward", "right"), "distance": ("1.0", "2.0")}
ROOM = 4.0
HEADING_SIGMA = np.radians(8.0)


def make_clip(seed, frames=4, situations=6):
    """A video of tiny pictures that name their scene and frame, in a square room around the anchor."""
    draw = np.random.default_rng([seed, frames])
    images = np.zeros((frames, 2, 2, 3), np.uint8)
    images[:, 0, 0] = [int(part) for part in divmod(seed % 65536, 256)] + [0]
    images[:, 0, 1, 0], images[:, 1, 0, 0] = np.arange(frames), frames
    yaws = np.cumsum(draw.uniform(-0.3, 0.3, frames))
    places = np.cumsum(draw.uniform(-0.2, 0.3, (frames, 2)), axis=0)
    cameras = np.array([look(x, y, 1.3, yaw, 0.2) for (x, y), yaw in zip(places, yaws, strict=True)])
    patches = draw.uniform(-ROOM, ROOM, (frames, 6, 2))
    described = [make_situation(f"situation {n} of {seed}", patches, n, draw) for n in range(situations)]
    questions = [
        Question(kind, f"{kind} {number} {seed}?", str(draw.choice(answers)), number, ())
        for kind, answers in ANSWERS.items()
        for number in range(3)
    ]
    return Clip(
        seed=seed,
        images=images,
        anchor_t_camera=anchor_poses(cameras),
        world_t_anchor=geometry.planar(geometry.world_t_anchor(cameras[0])),
        patches=patches,
        is_place=np.arange(frames * 6).reshape(frames, 6) % 6 != 5,
        situations=tuple(described),
        questions=tuple(questions),
    )


CEILING = Ceiling(0.8, 0.9, 0.7, 0.95)


def make_situation(text, patches, number, draw):
    """Words that leave nothing open: the observer is beside what one patch shows, and faces what another shows."""
    frame = number % len(patches)
    shown = np.zeros((2, *patches.shape[:2]), np.float32)
    shown[0, frame, 0], shown[1, frame - 1, 1] = 0.6, 0.4
    near, far = patches[frame, 0], patches[frame - 1, 1]
    place = near + draw.uniform(-0.5, 0.5, 2)
    pose = np.array([*place, np.arctan2(*(far - place)[::-1])])
    return Described(text, pose, CEILING, Reading(pose, Landmark(near, shown[0]), Landmark(far, shown[1])))


@dataclass
class Oracle:
    """Returns the truth plus normal noise; of a scene that it does not see it guesses evenly.

    `claimed` is the factor from its noise to the sigma that it gives. It keeps `capacity` keyframes, and with every
    fourth too many it forgets as many and begins a new anchor, as the memory does. It believes that its cameras were
    moved by `drift`, places what it sees and is asked for accordingly, and each patch is `blur` metres off besides.
    """

    noise: float = 0.1
    claimed: float = 1.0
    scale: float = 1.0
    capacity: int = 1000
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blur: float = 0.0
    sharpness: float = 1.0
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self):
        self.reset()

    def reset(self):
        self.clip, self.first, self.anchor_id, self.count = None, 0, 0, 0

    def observe(self, image, stamp, odometry=None, base_t_camera=None):
        self.frame = stamp // PERIOD
        if image[0, 1, 0] == self.frame:  # not grey
            seed = FIRST_SEED // 65536 * 65536 + int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])
            self.clip = make_clip(seed, int(image[1, 0, 0]))
        self.count += 1
        keyframe = self.keyframes()[-1]
        if self.count - self.first > self.capacity:
            self.first += 4
            self.anchor_id += 1
        return keyframe

    def settle(self, timeout=None):
        return True

    def poses(self):
        """Its cameras in its present anchor frame, `scale` times as far apart as they are."""
        if self.clip is None:
            return np.tile(np.eye(4), (self.count, 1, 1))
        poses = self.clip.anchor_t_camera.copy()
        poses[:, :3, 3] *= self.scale
        return geometry.from_planar(self.drift) @ geometry.invert(geometry.world_t_anchor(poses[self.first])) @ poses

    def keyframes(self):
        poses = self.poses()
        return tuple(Keyframe(i, i * PERIOD, None, poses[i], "anchor") for i in range(self.first, self.count))

    def place(self, truth, situation=""):
        sigma = self.claimed * self.noise
        pose = truth + self.draw.normal(size=3) * (self.noise, self.noise, HEADING_SIGMA)
        pose[2] = geometry.wrap_angle(pose[2])
        distribution = wrapped_normal(pose[2], HEADING_SIGMA) ** self.sharpness
        distribution /= distribution.sum()
        covariance = np.diag([sigma, sigma, geometry.circular_std(BIN_CENTRES, distribution)]) ** 2
        confidence = geometry.probability_within(1.0, sigma, sigma)
        return Place(situation, pose, covariance, distribution, confidence, self.anchor_id, 0, 1)

    def locate(self, situation):
        known = [one.pose for one in (self.clip.situations if self.clip else ()) if one.text == situation]
        guess = self.draw.uniform((-ROOM, -ROOM, -np.pi), (ROOM, ROOM, np.pi))
        return self.place(geometry.compose2(self.drift, known[0]) if known else guess, situation)

    def where_am_i(self):
        if self.clip is None:
            return self.place(np.zeros(3))
        camera = self.poses()[self.frame]
        return self.place(np.array([*camera[:2, 3], geometry.camera_heading(camera)]))

    def ask(self, question, situation=""):
        known = [one.answer for one in (self.clip.questions if self.clip else ()) if one.text == question]
        if known:
            assert situation == self.clip.situations[int(question.split()[1])].text
        answer = known[0] if known else str(self.draw.choice(ANSWERS[question.split()[0]]))
        return Reply(f"The {answer}." if known else answer, None, 1.0, 1, 0)

    def ask_stream(self, question, situation=""):
        yield self.ask(question, situation).text

    def layout(self):
        points = geometry.transform_points2(self.drift, self.clip.patches.reshape(-1, 2))
        points = points + self.blur * self.draw.normal(size=points.shape)
        sigma = np.full(points.shape, self.claimed * self.noise)
        index = np.repeat(np.arange(len(self.clip.images)), self.clip.patches.shape[1])
        noisy = points + self.noise * self.draw.normal(size=points.shape)
        return Layout(noisy, sigma, np.zeros((len(points), 3), np.uint8), index, self.anchor_id)

    def trajectory(self):
        raise NotImplementedError

    def reanchor(self, since):
        raise NotImplementedError

    def save(self, path):
        raise NotImplementedError

    def restore(self, path):
        raise NotImplementedError


@pytest.fixture(scope="session")
def plan():
    """Return a function: number of scenes -> a plan of made-up videos."""

    def make(scenes, walks=0, questions=3):
        seeds = range(FIRST_SEED, FIRST_SEED + scenes)
        return Plan(seeds, make_clip, frames=4, questions=questions, walks=walks, walk_frames=40)

    return make


@pytest.fixture(scope="session")
def subject():
    """Return a function: options -> a subject whose localizers are oracles."""

    def make(**options):
        return Subject(Oracle(**options), Oracle(**options), Oracle(**options | {"capacity": 8}))

    return make


@pytest.fixture(scope="session")
def records(plan, subject):
    """Records of an honest oracle that is off by 0.1 m per axis."""
    from loc3r_ros.evaluation.run import run

    return list(run(subject(), plan(120, walks=2), {}))

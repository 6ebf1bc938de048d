"""Walks: smooth, collision-free paths of a hand-held camera that looks at what it has not seen yet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from loc3r_ros.errors import Loc3RError
from loc3r_ros.geometry import Array
from loc3r_ros.world.camera import look
from loc3r_ros.world.clearance import FreeSpace, free_space, pull_taut, solids
from loc3r_ros.world.draw import Draw
from loc3r_ros.world.render import Renderer
from loc3r_ros.world.scene import Scene
from loc3r_ros.world.sight import panoramas

RADIUS = 0.28
"""Every camera keeps more than this from walls and furniture, metres."""
MARGIN = 0.05
"""The planned path keeps this much more, metres: frames lie on chords of it."""
RESOLUTION = 0.1
MAX_STEP = 0.32
"""Longest way between two frames, metres."""
MAX_TURN = math.radians(20.0)
"""Largest turn between two frames, radians."""
TURN = (math.radians(8.0), math.radians(18.0))
STEP = (0.14, 0.215)
"""Mean way between two frames, metres; a walk through two rooms needs the longest."""
HEIGHT = (1.05, 1.45)
PITCH = (math.radians(8.0), math.radians(18.0))
SWAY_HEIGHT = (0.03, 0.04)
SWAY_PITCH = math.radians(4.0)
VIEW = math.radians(28.0)
"""An object within this of the gaze counts as looked at."""
HOLD = 3
"""Frames for which the gaze stays on an object."""
GAZES = 16
"""Gazes tried on a path; the one that looks at most objects is kept."""
MIN_PIXELS, CLEAR_PIXELS = 4, 12
"""Pixels of a panorama from which a gaze can find an object, and from which a walk may start on it."""
OFF_CENTRE = math.radians(10.0)
"""How far from the middle of the picture the first object may be."""
PATH_SPACING = 0.05
CANDIDATES = 12
"""Places of which the farthest is walked to next."""


class WalkError(Loc3RError):
    """A scene without room to walk in, or nothing to look at."""


@dataclass(frozen=True, eq=False)
class Walk:
    """The way of a camera through a scene.

    Attributes:
        position: (N, 3) of the camera in the world, metres.
        yaw: (N,) heading of its gaze in the world, unwrapped radians.
        pitch: (N,) downwards, radians.
    """

    position: Array
    yaw: Array
    pitch: Array

    @property
    def world_t_camera(self) -> npt.NDArray[np.float64]:
        """(N, 4, 4) poses with optical axes."""
        states = np.column_stack([self.position, self.yaw, self.pitch])
        return np.array([look(x, y, z, yaw, pitch) for x, y, z, yaw, pitch in states])


def make_walk(scene: Scene, renderer: Renderer, frames: int) -> Walk:
    """Walk through a scene; the same walk for the same scene and number of frames.

    Args:
        scene: where to walk.
        renderer: of the scene; it tells what can be seen from where.
        frames: number of poses.

    Raises:
        WalkError: if the furniture leaves no room to stand in, or there is none.
    """
    if not scene.furniture:
        raise WalkError(f"Scene {scene.seed} has nothing to look at: use another seed.")
    draw = Draw(scene.seed, "walk")
    space = free_space(scene, RADIUS + MARGIN, RESOLUTION)
    if not len(space.points):
        raise WalkError(
            f"Scene {scene.seed} has no place to stand that is {RADIUS} m from everything: use another seed."
        )
    path = pull_taut(_wander(scene, space, frames, draw), solids(scene), RADIUS + MARGIN)
    ground = _pace(path, frames, draw)
    tick, phase = np.arange(frames), [draw.uniform(0.0, 2 * math.pi) for _ in range(3)]
    bob = SWAY_HEIGHT[0] * np.sin(0.9 * tick + phase[0]) + SWAY_HEIGHT[1] * np.sin(0.21 * tick + phase[1])
    height = np.clip(draw.uniform(*HEIGHT) + bob, *HEIGHT)
    pitch = np.clip(draw.uniform(*PITCH) + SWAY_PITCH * np.sin(0.35 * tick + phase[2]), *PITCH)
    position = np.column_stack([ground, height])
    return Walk(position, _look_around(renderer, len(scene.furniture), position, draw), pitch)


def _wander(scene: Scene, space: FreeSpace, frames: int, draw: Draw) -> Array:
    """Return (M, 2) a way through far-apart places, in every room, about as long as the frames allow."""
    wanted = min(draw.uniform(*STEP) * frames, 1.2 + 1.2 * len(space.points) * space.resolution**2)
    reachable, room = np.arange(len(space.points)), np.zeros(len(space.points), int)
    if scene.doorway is not None:  # both rooms, so neither end far from the doorway
        wanted = STEP[1] * frames
        room = (space.points[:, 0] > scene.doorway.x).astype(int)
        away = np.hypot(*(space.points - (scene.doorway.x, scene.doorway.y)).T)
        reachable = np.flatnonzero(away < max(wanted / 2, away.min() + space.resolution))
    place = int(reachable[draw.integer(len(reachable))])
    path, length, visited = space.points[[place]], 0.0, {int(room[place])}
    for _ in range(8):
        candidates = reachable[[draw.integer(len(reachable)) for _ in range(CANDIDATES)]]
        away = np.hypot(*(space.points[candidates] - space.points[place]).T)
        unvisited = ~np.isin(room[candidates], list(visited))
        goal = int(candidates[np.argmax(away + 100.0 * unvisited)])
        visited.add(int(room[goal]))
        path = np.concatenate([path, space.route(place, goal)[1:]])
        place, length = goal, float(np.hypot(*np.diff(path, axis=0).T).sum())
        if length >= wanted:
            break
    return _resample(path, np.linspace(0.0, min(wanted, length), max(2, int(length / PATH_SPACING))))


def _resample(path: Array, along: Array) -> Array:
    """Return the points of a polyline (M, 2) at distances from its start."""
    steps = np.hypot(*np.diff(path, axis=0).T)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    return np.column_stack([np.interp(along, travelled, path[:, axis]) for axis in (0, 1)])


def _pace(path: Array, frames: int, draw: Draw) -> Array:
    """Return (frames, 2) points on the path, walked now a little faster, now slower."""
    time = np.linspace(0.0, 1.0, frames)
    time = time + 0.05 * np.sin(2 * math.pi * (time + draw.uniform(0.0, 1.0)))
    time = (time - time[0]) / (time[-1] - time[0])
    length = np.hypot(*np.diff(path, axis=0).T).sum()
    return _resample(path, time * length)


def _look_around(renderer: Renderer, count: int, position: Array, draw: Draw) -> Array:
    """Return (N,) yaws that start on an object and bring the most objects into view."""
    stops = np.unique(np.linspace(0, len(position) - 1, 8).astype(int))
    pixels, bearing = _sights(renderer, count, position[stops])
    visible = pixels >= MIN_PIXELS
    nearest_stop = np.abs(np.subtract.outer(np.arange(len(position)), stops)).argmin(axis=1)
    direction = np.gradient(position[:, :2], axis=0) if len(position) > 1 else np.zeros((1, 2))
    travel = np.arctan2(direction[:, 1], direction[:, 0])
    best, most = np.zeros(len(position)), (-1, 0.0)
    for _ in range(GAZES):
        whim = np.array([draw.uniform(0.0, 1.5) for _ in range(count)])
        first = _pick_first(pixels[0], draw)
        start = bearing[0, first] + draw.uniform(-OFF_CENTRE, OFF_CENTRE)
        rate = draw.uniform(*TURN)
        yaw, looked_at = _gaze(visible[nearest_stop], bearing[nearest_stop], travel, whim, start, rate)
        calmest = (int(looked_at), -float(np.abs(np.diff(yaw)).sum()))
        if calmest > most:
            best, most = yaw, calmest
    return best


def _sights(renderer: Renderer, count: int, eyes: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Return (P, F) how many pixels show each of `count` things from each eye, and their mean bearing."""
    around = panoramas(renderer, eyes)
    pixels = around.pixels(count)
    return pixels.sum(axis=2), np.angle(pixels @ np.exp(1j * around.bearing))


def _pick_first(pixels: npt.NDArray[np.int64], draw: Draw) -> int:
    """Return a random thing of those that show well, or what shows most."""
    well = np.flatnonzero(pixels >= CLEAR_PIXELS)
    return int(well[draw.integer(len(well))]) if len(well) else int(np.argmax(pixels))


@numba.njit(cache=True)
def _gaze(visible, bearing, travel, whim, start, rate):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Track one unseen object after another with a damped, rate-limited head.

    Args:
        visible: (N, F) whether furniture can be seen from each frame.
        bearing: (N, F) its world bearing, radians.
        travel: (N,) heading of the walk, looked along where nothing shows.
        whim: (F,) radians by which each object seems further off than it is: breaks ties at random.
        start: first yaw.
        rate: largest turn per frame, radians.

    Returns:
        (N,) yaws, and the number of objects looked at.
    """
    frames, count = visible.shape
    looked_at, done = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    yaws = np.empty(frames)
    yaw, velocity, target, held = start, 0.0, -1, 0
    for frame in range(frames):
        if target < 0 or held >= HOLD or not visible[frame, target]:
            if not (visible[frame] & ~done).any():
                done[:] = False  # all is known from here: look at it once more
            target, held, least = -1, 0, np.inf
            for item in range(count):
                if visible[frame, item] and not done[item]:
                    cost = abs(_wrap(bearing[frame, item] - yaw)) + whim[item]
                    if cost < least:
                        target, least = item, cost
        error = _wrap((bearing[frame, target] if target >= 0 else travel[frame]) - yaw)
        if frame > 0:
            velocity += min(max(0.6 * error - velocity, -0.6 * rate), 0.6 * rate)
            velocity = min(max(velocity, -rate), rate)
            yaw += velocity
        yaws[frame] = yaw
        for item in range(count):
            if visible[frame, item] and abs(_wrap(bearing[frame, item] - yaw)) < VIEW:
                looked_at[item] = done[item] = True
                held += item == target
    return yaws, looked_at.sum()


@numba.njit(cache=True)
def _wrap(angle):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return (angle + np.pi) % (2 * np.pi) - np.pi

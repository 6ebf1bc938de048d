"""What the page shows, as plain data in the map."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from loc3r_ros.interface import FloatArray, ImageArray


class Level(Enum):
    """How something is."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"
    ABSENT = "absent"


@dataclass(frozen=True)
class Status:
    """How the node is.

    Attributes:
        level: at a glance.
        text: in a sentence.
        details: more of it, as short texts.
    """

    level: Level
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """What the camera sees.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        map_t_camera: (4, 4) pose with optical axes, where it is known.
    """

    image: ImageArray
    map_t_camera: FloatArray | None


@dataclass(frozen=True)
class Lens:
    """What a frustum needs to know of a camera.

    Attributes:
        field_of_view: vertical, radians.
        aspect: width by height.
    """

    field_of_view: float
    aspect: float


@dataclass(frozen=True)
class View:
    """A remembered view.

    Attributes:
        stamp: ns.
        map_t_camera: (4, 4) pose with optical axes.
        image: (H, W, 3) uint8 RGB, where the page has seen it.
    """

    stamp: int
    map_t_camera: FloatArray
    image: ImageArray | None = None


@dataclass(frozen=True)
class Robot:
    """Where the robot is.

    Attributes:
        map_t_base: (4, 4).
        covariance: (3, 3) of x, y, heading; None where it is not localized.
    """

    map_t_base: FloatArray
    covariance: FloatArray | None


@dataclass(frozen=True)
class Described:
    """A place that the model has found.

    Attributes:
        text: the description; empty for the robot's own place.
        pose: (3,) x, y, heading.
        covariance: (3, 3) of `pose`.
        heading_distribution: (36,) probabilities of the bins from -pi on.
        confidence: probability, 0..1, that the position is within 1 m.
        latency: s.
    """

    text: str
    pose: FloatArray
    covariance: FloatArray
    heading_distribution: FloatArray
    confidence: float
    latency: float


@dataclass(frozen=True)
class Cloud:
    """The learned layout.

    Attributes:
        points: (N, 3) metres.
        colour: (N, 3) uint8 RGB.
        sigma: (N,) standard deviations, metres.
    """

    points: FloatArray
    colour: ImageArray
    sigma: FloatArray


@dataclass(frozen=True)
class Exchange:
    """A question or a description, and what came of it.

    Attributes:
        place: the description from which it was asked; may be empty.
        question: the question; may be empty.
        answer: the words so far.
        note: what is known besides, such as pose, confidence and time.
        error: why there is no answer; empty where there is one.
        is_running: more words may come.
    """

    place: str
    question: str
    answer: str = ""
    note: str = ""
    error: str = ""
    is_running: bool = False


@dataclass(frozen=True)
class Timing:
    """How long a stage takes.

    Attributes:
        stage: its name.
        mean: s.
        largest: s.
    """

    stage: str
    mean: float
    largest: float

"""What a scene is made of: rooms, furniture built of primitives, lights.

World frame: metres, x and y along the walls, z up, floor at z = 0. Furniture frame: origin in the middle of the bottom
of its bounding box, front = local +x, left = local +y, z up.
"""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Colour = tuple[float, float, float]  # linear RGB in 0..1


class Surface(enum.IntEnum):
    """Codes of the segmentation for what is not furniture (which has its id, >= 0)."""

    FLOOR = -1
    CEILING = -2
    WALL = -3  # walls, skirting boards and the frame of the doorway
    NOTHING = -4


class Shape(enum.IntEnum):
    """Shapes that the renderer can intersect."""

    BOX = 0
    CONE = 1  # vertical (local z) cylinder, radius half[0] at the bottom and taper * half[0] at the top
    ELLIPSOID = 2


class Texture(enum.IntEnum):
    """Patterns computed at the point that a ray hits."""

    PLAIN = 0
    WOOD = 1
    TILES = 2
    CHECKS = 3
    STRIPES = 4
    FABRIC = 5
    BRICKS = 6
    SKY = 7
    PAINTING = 8
    SCREEN = 9
    PLANKS = 10


class Mount(enum.Enum):
    """Where a piece of furniture goes."""

    AGAINST_WALL = "against_wall"  # on the floor, back to a wall
    ON_WALL = "on_wall"  # hangs on a wall (door: stands in it)
    NEAR_WALL = "near_wall"  # small thing on the floor beside a wall
    OPEN_FLOOR = "open_floor"  # needs space around it
    ANYWHERE = "anywhere"  # on the floor, at any yaw
    FLAT = "flat"  # on the floor and may lie under other things, can be walked on


@dataclass(frozen=True)
class Material:
    """How a surface looks: `colour`, mixed with `second` by the texture; `scale` is in cycles per metre."""

    colour: Colour
    second: Colour
    texture: Texture = Texture.PLAIN
    scale: float = 1.0
    emission: float = 0.0


@dataclass(frozen=True, eq=False)
class Primitive:
    """One solid.

    Attributes:
        shape: kind of solid.
        centre: its centre in the parent's frame, metres.
        rotation: (3, 3) parent_R_primitive.
        half: half sizes along its own axes, metres.
        taper: CONE only: radius at the top over radius at the bottom.
        material: how it looks.
    """

    shape: Shape
    centre: Vector
    half: Vector
    material: Material
    taper: float = 1.0
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True)
class Room:
    """Axis-aligned floor rectangle, inner faces of the walls, metres."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def size(self) -> tuple[float, float]:
        """Extents along x and y, metres."""
        return self.x1 - self.x0, self.y1 - self.y0

    @property
    def area(self) -> float:
        """Floor area, square metres."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the floor."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


@dataclass(frozen=True)
class Doorway:
    """Open passage along x between rooms[0] (smaller x) and rooms[1]; (x, y) is the middle of the wall it pierces.

    `width` and `height` are those of the hole, metres; its frame takes 2.5 cm of it on each side and 2 cm at the top.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Light:
    """Point light under the ceiling."""

    position: Vector
    intensity: float


@dataclass(frozen=True, eq=False)
class Furniture:
    """One object that language can name.

    Attributes:
        category: one of `furniture.CATEGORIES`.
        colour: name of its colour, one of `materials.COLOURS`.
        size: extents along local x, y, z, metres (bounding box).
        mount: where it goes.
        primitives: its solids in the furniture frame.
        scale: factor on the nominal size of the category.
        elevation: height of its bottom over the floor, metres.
        position: (x, y) of the centre of the footprint in the world, metres.
        yaw: heading of its front (local +x), radians counter-clockwise from world +x.
        room: index into `Scene.rooms`.
        id: index into `Scene.furniture` and value in the segmentation.
    """

    category: str
    colour: str
    size: Vector
    mount: Mount
    primitives: tuple[Primitive, ...]
    scale: float = 1.0
    elevation: float = 0.0
    position: tuple[float, float] = (0.0, 0.0)
    yaw: float = 0.0
    room: int = 0
    id: int = -1

    @property
    def name(self) -> str:
        """What language calls it, for example "red chair"."""
        return f"{self.colour} {self.category}"

    @functools.cached_property
    def world_R_furniture(self) -> NDArray[np.float64]:  # noqa: N802
        """(3, 3) rotation about z; exact where the yaw is a multiple of 90 degrees."""
        return yaw_rotation(self.yaw)

    @functools.cached_property
    def footprint(self) -> NDArray[np.float64]:
        """(4, 2) corners in the world, counter-clockwise: front left, back left, back right, front right."""
        x, y = self.size[0] / 2, self.size[1] / 2
        corners = np.array([[x, y], [-x, y], [-x, -y], [x, -y]])
        return corners @ self.world_R_furniture[:2, :2].T + np.array(self.position)

    @functools.cached_property
    def centre(self) -> NDArray[np.float64]:
        """(3,) middle of its bounding box in the world."""
        return np.array([*self.position, self.elevation + self.size[2] / 2])


@dataclass(frozen=True, eq=False)
class Scene:
    """One or two furnished rooms.

    Attributes:
        seed: what it was made from.
        rooms: one or two rooms; rooms[1] lies at larger x.
        doorway: passage between two rooms, None for one room.
        height: of the ceiling, metres.
        ambient: light that falls everywhere.
        furniture: objects; `furniture[i].id == i`.
        shell: floors, walls, ceilings and their trim, with their surface code, in the world frame.
        lights: point lights.
    """

    seed: int
    rooms: tuple[Room, ...]
    doorway: Doorway | None
    height: float
    ambient: float
    furniture: tuple[Furniture, ...]
    shell: tuple[tuple[Primitive, Surface], ...]
    lights: tuple[Light, ...]


def yaw_rotation(yaw: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about z by `yaw` radians, without rounding noise at multiples of 90 degrees."""
    quarters = yaw / (math.pi / 2)
    if abs(quarters - round(quarters)) < 1e-9:
        c, s = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[round(quarters) % 4]
    else:
        c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

"""Colours and materials. Furniture colours are far apart; walls and floors keep away from all of them."""

from __future__ import annotations

from dataclasses import dataclass

from loc3r_ros.world.draw import Draw
from loc3r_ros.world.scene import Colour, Material, Texture

COLOURS: dict[str, Colour] = {
    "red": (0.68, 0.03, 0.03),
    "orange": (0.90, 0.28, 0.02),
    "yellow": (0.90, 0.72, 0.05),
    "green": (0.05, 0.40, 0.07),
    "blue": (0.04, 0.12, 0.68),
    "purple": (0.28, 0.05, 0.46),
    "pink": (0.92, 0.36, 0.56),
    "brown": (0.19, 0.07, 0.02),
    "black": (0.012, 0.012, 0.014),
    "white": (0.92, 0.92, 0.90),
    "grey": (0.26, 0.26, 0.27),
    "teal": (0.02, 0.42, 0.44),
}
"""The names that language uses; every category of furniture comes in all of them."""

WALL_COLOURS: tuple[Colour, ...] = (
    (0.60, 0.52, 0.36),
    (0.42, 0.52, 0.60),
    (0.44, 0.53, 0.36),
    (0.58, 0.46, 0.36),
    (0.51, 0.45, 0.60),
    (0.64, 0.58, 0.30),
)
BLACK: Colour = (0.0, 0.0, 0.0)
WHITE: Colour = (1.0, 1.0, 1.0)
DARK_GREY: Colour = (0.05, 0.05, 0.055)
STEEL: Colour = (0.45, 0.46, 0.48)
BRASS: Colour = (0.62, 0.45, 0.12)
LINEN: Colour = (0.72, 0.70, 0.64)
STONE: Colour = (0.66, 0.65, 0.60)
PINE: Colour = (0.55, 0.38, 0.20)
TRIM: Colour = (0.80, 0.78, 0.72)
BOOKS: tuple[Colour, ...] = ((0.60, 0.55, 0.42), (0.13, 0.16, 0.20), (0.36, 0.24, 0.16), (0.42, 0.45, 0.46))

DARK_LUMINANCE = 0.12


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """Return the colour between two, `weight` of the second."""
    r, g, b = (a + (c - a) * weight for a, c in zip(first, second, strict=True))
    return r, g, b


def plain(colour: Colour, emission: float = 0.0) -> Material:
    """Return a material without a pattern."""
    return Material(colour, colour, emission=emission)


def luminance(colour: Colour) -> float:
    """Return the brightness of a linear colour (ITU-R BT.709)."""
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


@dataclass(frozen=True)
class Paint:
    """The materials that one piece of furniture is made of, all shades of its colour."""

    colour: Colour

    @property
    def contrast(self) -> Colour:
        """A shade that can be told from the colour: darker, or lighter where it is dark already."""
        dark = luminance(self.colour) < DARK_LUMINANCE
        return mix(self.colour, WHITE, 0.06) if dark else mix(self.colour, BLACK, 0.30)

    @property
    def main(self) -> Material:
        """The plain colour."""
        return plain(self.colour)

    @property
    def detail(self) -> Material:
        """The contrast shade."""
        return plain(self.contrast)

    def textured(self, texture: Texture, scale: float, strength: float = 0.6) -> Material:
        """Return the colour with a pattern that goes `strength` of the way to the contrast shade."""
        return Material(self.colour, mix(self.colour, self.contrast, strength), texture, scale)

    @property
    def wood(self) -> Material:
        """Painted wood."""
        return self.textured(Texture.WOOD, 10.0)

    @property
    def fabric(self) -> Material:
        """Cloth."""
        return self.textured(Texture.FABRIC, 40.0)


def wall_material(draw: Draw) -> Material:
    """Draw a plain, striped or brick wall."""
    colour = draw.choice(WALL_COLOURS)
    texture = draw.choice((Texture.PLAIN, Texture.PLAIN, Texture.STRIPES, Texture.BRICKS))
    if texture is Texture.BRICKS:
        return Material(colour, mix(colour, BLACK, 0.25), texture, 4.0)
    return Material(colour, mix(colour, BLACK, 0.08), texture, 3.0)


def floor_material(draw: Draw) -> Material:
    """Draw planks, tiles, carpet or checks."""
    texture = draw.choice((Texture.PLANKS, Texture.TILES, Texture.FABRIC, Texture.CHECKS))
    if texture is Texture.PLANKS:
        colour = draw.choice(((0.42, 0.26, 0.13), (0.55, 0.38, 0.22), (0.33, 0.21, 0.12)))
        return Material(colour, mix(colour, BLACK, 0.3), texture, draw.uniform(5.0, 8.0))
    if texture is Texture.TILES:
        return Material((0.55, 0.53, 0.48), (0.30, 0.29, 0.27), texture, draw.uniform(1.6, 3.0))
    if texture is Texture.FABRIC:
        colour = draw.choice(((0.30, 0.33, 0.40), (0.30, 0.37, 0.28), (0.42, 0.33, 0.28), (0.38, 0.30, 0.38)))
        return Material(colour, mix(colour, BLACK, 0.25), texture, 40.0)
    return Material((0.56, 0.54, 0.48), (0.34, 0.34, 0.33), texture, draw.uniform(1.5, 2.5))

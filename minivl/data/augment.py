"""Random pictures from a picture: a warp, a recolouring, a redrawing. NumPy only, a whole batch at a time.

A few hundred drawings by one artist say little about a second artist's hand. What the second one keeps is the thing
drawn and roughly its outline; what changes is the place, the proportions, the colours, the shading and the width of the
line. Each of these is drawn at random here, so that a model cannot rely on it.

    picture --> one bilinear sampling --> tones and colours --> shading, few tones --> blur or sharpen --> noise, cutout

All the geometry (rotation, scale, shear, shift, flip, elastic warp) is one field of source coordinates, so that a
picture is interpolated once and not softened again at every step. Everything is drawn from the generator passed in:
same generator state, same pictures.
"""

from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True)
class Augment:
    """Augment(...)(images, random): images (B, 3, H, W) float32 in 0..1 -> the same shape, dtype and range.

    Amounts are the greatest that are drawn (uniformly, both signs, for each picture anew); 0 switches a step off.
    Lengths are in units of the picture's side, chances are probabilities for each picture.
    """

    rotation: float = 10.0  # degrees
    scale: float = 0.25  # log2 of the size: 0.25 is 0.84 to 1.19
    aspect: float = 0.25  # log2 of width over height
    shear: float = 0.15
    shift: float = 0.1
    flip: float = 0.0  # chance of a left-right mirror image; a moon would become another
    warp: float = 0.04  # standard deviation of the elastic displacement
    warp_cells: int = 4  # its coarse grid: 2 bends the whole picture, 8 ripples it
    fill: float = 1.0  # brightness of what lies outside the picture: white paper

    tone: float = 0.3  # bend of each channel's tone curve, within (-1, 1)
    mix: float = 0.1  # standard deviation of the 3 x 3 colour matrix around the identity
    grey: float = 0.05  # chance to lose all colour
    saturation: float = 0.3  # change of the amount of colour
    hue: float = 0.03  # turn of the colour wheel, in turns
    contrast: float = 0.2  # log2
    brightness: float = 0.08
    shading: float = 0.08  # standard deviation of smooth light and dark patches
    posterise: float = 0.1  # chance of few, flat tones

    blur: float = 0.5  # -1 sharpens, 1 blurs with (1 2 1) / 4
    noise: float = 0.03
    cutout: float = 0.1  # chance of one flat rectangle over the picture

    def __call__(self, images, random):
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images has shape {images.shape}; it must be (B, 3, H, W)")
        if images.dtype != np.float32:
            raise TypeError(f"images is {images.dtype}; it must be float32, with values in 0..1")
        B, _, H, W = images.shape
        x = sample(images, self.coordinates(B, H, W, random), self.fill)
        x = self.recolour(x, random)
        x = self.relight(x, random)
        x = self.roughen(x, random)
        return np.clip(x, 0, 1, out=x)

    def scaled(self, factor):
        """The same steps, each amount and each chance multiplied by factor (chances stop at 1)."""
        kept = {"fill", "warp_cells"}
        chances = {"flip", "grey", "posterise", "cutout"}
        amounts = {f.name: factor * getattr(self, f.name) for f in fields(self) if f.name not in kept}
        return replace(self, **{n: min(a, 1.0) if n in chances | {"tone"} else a for n, a in amounts.items()})

    def coordinates(self, B, H, W, random):
        """Where each pixel of the new picture is read in the old one: (B, 2, H, W), rows then columns, in pixels."""
        u = random.uniform(-1, 1, (7, B)).astype(np.float32)
        angle = np.deg2rad(self.rotation) * u[0]
        size, aspect = 2 ** (-self.scale * u[1]), 2 ** (self.aspect / 2 * u[2])
        mirror = np.where(random.random(B) < self.flip, -1, 1)
        cos, sin, shear = np.cos(angle) * size, np.sin(angle) * size, self.shear * u[3]
        # new (y, x) -> old (y, x): first mirror, aspect and shear, then turn
        A = np.empty((B, 2, 2), np.float32)
        A[:, 0, 0], A[:, 0, 1] = cos * aspect, (cos * shear - sin / aspect) * mirror
        A[:, 1, 0], A[:, 1, 1] = sin * aspect, (sin * shear + cos / aspect) * mirror
        y, x = (np.arange(H, dtype=np.float32) + 0.5) / H - 0.5, (np.arange(W, dtype=np.float32) + 0.5) / W - 0.5
        place = A[:, :, 0, None, None] * y[:, None] + A[:, :, 1, None, None] * x
        place += (self.shift * u[4:6]).T[:, :, None, None]
        if self.warp:
            place += smooth_noise((B, 2, H, W), self.warp_cells, self.warp, random)
        side = np.array([H, W], np.float32)[:, None, None]
        return place * side + (side - 1) / 2

    def recolour(self, x, random):
        """A tone curve for each channel, then one random affine map of the colours of each picture."""
        B, _, H, W = x.shape
        bend = random.uniform(-self.tone, self.tone, (B, 3, 1, 1)).astype(np.float32)
        x = x + bend * (x * (1 - x))  # monotone, and keeps black and white
        matrix = self.colour_matrix(B, random)
        offset = random.uniform(-self.brightness, self.brightness, (B, 3, 1)).astype(np.float32)
        # the map turns about mid-grey: matrix · (x - ½) + ½ + offset
        offset += 0.5 - 0.5 * matrix.sum(2, keepdims=True)
        return (matrix @ x.reshape(B, 3, H * W) + offset).reshape(B, 3, H, W)

    def colour_matrix(self, B, random):
        """(B, 3, 3): contrast · mixing · saturation · hue. The rows of the last three sum to 1: grey stays grey."""
        turn = 2 * np.pi * random.uniform(-self.hue, self.hue, (B, 1, 1))
        third, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        # Rodrigues' formula, about the grey axis
        hue = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) * third + np.sin(turn) * cross
        mixing = self.mix * random.standard_normal((B, 3, 3))
        mixing += np.eye(3) - mixing.mean(2, keepdims=True)
        colour = 1 + random.uniform(-self.saturation, self.saturation, (B, 1, 1))
        colour *= random.random((B, 1, 1)) >= self.grey
        saturation = colour * np.eye(3) + (1 - colour) * third
        contrast = 2 ** random.uniform(-self.contrast, self.contrast, (B, 1, 1))
        return (contrast * (mixing @ saturation @ hue)).astype(np.float32)

    def relight(self, x, random):
        """Smooth light and dark patches; then, for some pictures, a few flat tones in place of gradients."""
        B, _, H, W = x.shape
        if self.shading:
            x += smooth_noise((B, 1, H, W), 3, self.shading, random)
        flat = np.flatnonzero(random.random(B) < self.posterise)
        levels = random.uniform(2, 6, (len(flat), 1, 1, 1)).astype(np.float32)
        start = random.uniform(-0.5, 0.5, (len(flat), 3, 1, 1)).astype(np.float32)
        x[flat] = (np.rint(x[flat] * levels + start) - start) / levels
        return x

    def roughen(self, x, random):
        """Blur or sharpen, noise, and a flat rectangle over some pictures."""
        B, _, H, W = x.shape
        if self.blur:
            x += random.uniform(-self.blur, self.blur, (B, 1, 1, 1)).astype(np.float32) * (blurred(x) - x)
        if self.noise:
            amount = random.uniform(0, 2 * self.noise, (B, 1, 1, 1)).astype(np.float32)
            x += amount * (random.random(x.shape, dtype=np.float32) - 0.5)
        if self.cutout:
            covered = (random.random(B) < self.cutout)[:, None, None] & rectangles(B, H, W, random)
            colour = random.random((B, 3, 1, 1), dtype=np.float32)
            np.copyto(x, colour, where=covered[:, None])
        return x


def sample(images, places, fill):
    """Bilinear interpolation.   images (B, C, H, W), places (B, 2, H', W') in pixels -> (B, C, H', W')

    Outside the picture lies fill.
    """
    B, C, H, W = images.shape
    rows, columns = H + 2, W + 2  # a frame of fill: the outside needs no test of its own
    framed = np.full((B, rows, columns, C), fill, images.dtype)
    framed[:, 1:-1, 1:-1] = images.transpose(0, 2, 3, 1)
    pixels = framed.reshape(-1, C)

    y, x = np.clip(places[:, 0] + 1, 0, rows - 1.001), np.clip(places[:, 1] + 1, 0, columns - 1.001)
    top, left = y.astype(np.int32), x.astype(np.int32)
    y, x = (y - top)[..., None], (x - left)[..., None]
    corner = top * columns + left + (np.arange(B, dtype=np.int32) * (rows * columns))[:, None, None]
    upper = blend(pixels.take(corner, axis=0), pixels.take(corner + 1, axis=0), x)
    lower = blend(pixels.take(corner + columns, axis=0), pixels.take(corner + columns + 1, axis=0), x)
    return np.ascontiguousarray(blend(upper, lower, y).transpose(0, 3, 1, 2))


def blend(a, b, share):
    """a + share · (b - a), in b's memory."""
    b -= a
    b *= share
    b += a
    return b


def smooth_noise(shape, cells, deviation, random):
    """Smooth random fields (B, C, H, W): normal values on a coarse grid of cells + 1 knots a side, joined by cubics."""
    B, C, H, W = shape
    coarse = deviation * random.standard_normal((B, C, cells + 1, cells + 1), dtype=np.float32)
    return joining(H, cells) @ coarse @ joining(W, cells).T


def joining(length, cells):
    """(length, cells + 1): the weight of each knot at each pixel.

    Between neighbours it goes as smoothstep, 3t² - 2t³, which is flat at both ends: no visible creases.
    """
    place = (np.arange(length, dtype=np.float32) + 0.5) / length * cells
    distance = np.clip(np.abs(place[:, None] - np.arange(cells + 1, dtype=np.float32)), 0, 1)
    return 1 - distance**2 * (3 - 2 * distance)


def blurred(x):
    """(1 2 1) / 4 along rows and columns, edges repeated."""
    for axis in (2, 3):
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        p = np.pad(x, padding, mode="edge")
        n = x.shape[axis]
        before, after = (p[:, :, k : k + n] if axis == 2 else p[..., k : k + n] for k in (0, 2))
        x = 0.5 * x + 0.25 * (before + after)
    return x


def rectangles(B, H, W, random):
    """One random rectangle a picture, of sides from 1/8 to 1/2: (B, H, W), True inside."""
    centre, half = random.random((2, B, 1, 1)), random.uniform(1 / 16, 1 / 4, (2, B, 1, 1))
    rows, columns = (np.arange(H) + 0.5)[:, None] / H, (np.arange(W) + 0.5) / W
    return (np.abs(rows - centre[0]) < half[0]) & (np.abs(columns - centre[1]) < half[1])

"""Ground, houses and sky of one picture, in a few operations on whole arrays."""

from __future__ import annotations

from typing import Final

import numpy as np

from paceline.streaming.frame import Floats, Size
from paceline.streaming.render.camera import HEIGHT, Camera
from paceline.streaming.render.paint.textures import (
    HALF,
    HOUSE_HIGH,
    HOUSE_LONG,
    HOUSE_PER_M,
    NUM_HOUSES,
    PER_M,
    SIDE,
    Packed,
    ground,
    houses,
    pack,
)  # fmt: skip
from paceline.streaming.render.regime import OPEN
from paceline.streaming.render.route import Route
from paceline.streaming.render.sight import Sight

REACH: Final = 220.0  # m up to which houses are drawn
BLUR_FROM: Final = 38.0  # m from where the ground's coarse picture is used
HOUSE_M: Final = 15.0  # metres of one front
HORIZON_STEPS: Final = 2048  # around the whole horizon


class Backdrop:
    """Draws what nothing hides. ``seed`` decides the paint of this drive."""

    def __init__(self, route: Route, seed: int, size: Size, *, wet: bool) -> None:
        rng = np.random.default_rng([0xBAC, seed])
        self._route, self._size = route, size
        open_country = all(regime.setback >= OPEN for regime in route.regimes)
        self._ground = ground(rng, route.layout, open_country=open_country, wet=wet).texels
        self._fronts = houses(rng).reshape(-1)
        self._front_of = rng.integers(NUM_HOUSES, size=512)
        self._height_of = rng.choice([5.0, 7.0, 10.0, 13.0, 18.0, 21.5], size=512)
        self._sky = rng.uniform(0.9, 1.1, 3) * ((190, 205, 225) if not wet else (165, 168, 172))
        self._zenith = rng.uniform(0.9, 1.1, 3) * ((95, 140, 205) if not wet else (140, 145, 152))
        self._ridge = _ridge(rng)
        self._wood = np.array([62, 82, 50]) * rng.uniform(0.7, 1.3, 3)

    def draw(self, ego_s: float, ego_yaw: float, camera: Camera) -> Packed:
        """[H, W]"""
        road = Sight.along(self._route, ego_s, ego_yaw)
        picture = np.empty((self._size[1], self._size[0]), np.uint32)
        first = int(np.clip(np.ceil(camera.row + 0.5), 0, self._size[1]))
        slope: Floats = (np.arange(self._size[0], dtype=np.float64) + 0.5 - camera.column) / camera.focal_x
        here = float(np.interp(ego_s, self._route.grid, self._route.heading)) + ego_yaw
        self._draw_sky(picture[:first], slope, here, camera)
        self._draw_ground(picture, first, slope, road, camera)
        self._draw_houses(picture, slope, road, camera)
        return picture

    def _draw_sky(self, above: Packed, slope: Floats, heading: float, camera: Camera) -> None:
        share = (np.arange(len(above)) / max(len(above), 1))[:, None]
        above[:] = pack(self._zenith + (self._sky - self._zenith) * share)[:, None]
        angle = (heading + np.arctan(slope)) / (2 * np.pi) * HORIZON_STEPS
        top = camera.row - camera.focal_y * self._ridge[angle.astype(int) % HORIZON_STEPS]
        rows = np.arange(len(above))[:, None]
        low = max(0, int(top.min()))
        wood = pack(self._wood * np.linspace(1.2, 0.9, len(above))[:, None])[low:, None]
        np.copyto(above[low:], wood, where=rows[low:] >= top)

    def _draw_ground(self, picture: Packed, first: int, slope: Floats, road: Sight, camera: Camera) -> None:
        rows = np.arange(first, self._size[1], dtype=np.float64)
        z = camera.focal_y * HEIGHT / (rows + 0.5 - camera.row)
        x, s = road.at(z)
        inside, nearest = self._route.in_junction(s)
        middles = self._route.junctions[nearest] if len(self._route.junctions) else s
        texel = np.where(inside, (s - middles + HALF) * PER_M, s * PER_M).astype(np.int64) % SIDE
        base = (((z > BLUR_FROM) * 2 + inside) * SIDE + texel) * SIDE
        lean = np.cos(np.interp(z, road.z, road.heading)) * PER_M
        across = (slope.astype(np.float32)[None, :] * (z * lean).astype(np.float32)[:, None]) + (
            (HALF * PER_M) - x * lean
        ).astype(np.float32)[:, None]
        np.clip(across, 0, SIDE - 1, out=across)
        index = across.astype(np.int32)
        index += base.astype(np.int32)[:, None]
        np.take(self._ground, index, out=picture[first:], mode="clip")

    def _draw_houses(self, picture: Packed, slope: Floats, road: Sight, camera: Camera) -> None:
        """One ray for each column finds the first front."""
        z = np.asarray(np.geomspace(4.0, REACH, 72), dtype=np.float64)
        x, s = road.at(z)
        back = self._route.setbacks(s)
        right = (x + self._route.layout.right + back).astype(np.float32)
        left = (x + self._route.layout.left - back).astype(np.float32)
        ray = slope.astype(np.float32)[None, :] * z.astype(np.float32)[:, None]
        beyond = np.maximum(ray - right[:, None], left[:, None] - ray)  # [K, W], > 0 outside
        hit = (beyond > 0).argmax(0)
        found = np.flatnonzero(beyond[hit, np.arange(len(slope))] > 0)
        if not len(found):
            return
        hit = hit[found]
        prior = np.maximum(hit - 1, 0)
        now, before = beyond[hit, found], beyond[prior, found]
        share = np.where((hit > 0) & (before > -40), now / np.maximum(now - before, 1e-6), 0.0)
        depth = z[hit] - share * (z[hit] - z[prior])
        along = s[hit] - share * (s[hit] - s[prior])
        self._draw_fronts(picture, found, depth, along, slope[found] > 0, camera)

    def _draw_fronts(
        self, picture: Packed, columns: np.ndarray, depth: Floats, along: Floats, is_right: np.ndarray, camera: Camera
    ) -> None:
        block = (np.floor(along / HOUSE_M).astype(int) + is_right * 131) % 512
        top = self._height_of[block]
        low = camera.row + camera.focal_y * (HEIGHT - top) / depth
        first, last = (
            max(0, int(low.min())),
            int(min(len(picture), (camera.row + camera.focal_y * HEIGHT / depth).max() + 1)),
        )
        scale = (depth / camera.focal_y * HOUSE_PER_M).astype(np.float32)
        up = (camera.row - np.arange(first, last, dtype=np.float32)[:, None] - 0.5) * scale + np.float32(
            HEIGHT * HOUSE_PER_M
        )
        shown = (up >= 0) & (up < (top * HOUSE_PER_M).astype(np.float32))
        base = (self._front_of[block] * HOUSE_LONG + (along * HOUSE_PER_M).astype(int) % HOUSE_LONG) * HOUSE_HIGH
        index = np.clip(up, 0, HOUSE_HIGH - 1).astype(np.int32) + base.astype(np.int32)
        area = picture[first:last]
        whole = len(columns) == area.shape[1]
        target = area if whole else area[:, columns]
        np.copyto(target, self._fronts[index], where=shown)
        if not whole:
            area[:, columns] = target


def _ridge(rng: np.random.Generator) -> Floats:
    """Height of woods and hills over the horizon, as a slope, all around."""
    coarse = np.interp(np.arange(HORIZON_STEPS), np.linspace(0, HORIZON_STEPS, 60), rng.uniform(0.012, 0.06, 60))
    fine = np.interp(np.arange(HORIZON_STEPS), np.linspace(0, HORIZON_STEPS, 700), rng.uniform(-0.006, 0.006, 700))
    return np.asarray(coarse + fine)

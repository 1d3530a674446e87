"""Paints one picture of a drive: the backdrop, then everybody from far to near, then the camera's doing."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from paceline.streaming.frame import Floats, Pixels, Size
from paceline.streaming.render.actors import BUS, KINDS, WALKER, Actors
from paceline.streaming.render.camera import FOCAL, HEIGHT, NOMINAL, Camera
from paceline.streaming.render.ego import BASE_HZ, Ego
from paceline.streaming.render.paint.backdrop import Backdrop
from paceline.streaming.render.paint.bodies import Body, Lamp, draw_body, sides_seen
from paceline.streaming.render.paint.figures import FIGURES, Figure
from paceline.streaming.render.paint.sensor import Sensor, compress, smear
from paceline.streaming.render.route import Route
from paceline.streaming.render.truth import Placed, behind_houses, outline, placed

HAZE_M: Final = 420.0  # m at which the air's colour is two thirds
TINIEST: Final = 1.5  # pixels of height below which nothing is drawn
PACE: Final = 9.0  # rad/s of a walker's legs


class Painter:
    """Of one drive; a picture depends on its step alone."""

    def __init__(self, route: Route, ego: Ego, actors: Actors, seed: int, light: str, rain: bool, size: Size) -> None:
        self._route, self._ego, self._actors, self._size = route, ego, actors, size
        self._backdrop = Backdrop(route, seed, size, wet=rain)
        self._sensor = Sensor(seed, light, rain, size)
        self._haze_m = HAZE_M * (0.4 if rain else 1.0)

    def paint(self, step: int, jpeg_quality: int | None = None) -> Pixels:
        """[H, W, 3]"""
        ego = self._ego
        camera = Camera.looking(self._size, float(ego.pitch[step]))
        backdrop = self._backdrop.draw(float(ego.s[step]), float(ego.yaw[step]), camera)
        picture = Image.frombuffer("RGBX", self._size, backdrop.tobytes(), "raw", "RGBX", 0, 1).convert("RGB")
        at = self._seen(step)
        pixels = camera.project(outline(self._actors, at))
        lamps = _unhidden(picture, self._draw(ImageDraw.Draw(picture), at, pixels, step))
        turn = self._turn(step)
        picture = self._sensor.expose(picture, lamps, turn, step)
        read = self._sensor.read(self._smeared(np.asarray(picture), at, pixels, step, turn), step)
        return read if jpeg_quality is None else compress(read, jpeg_quality)

    def _seen(self, step: int) -> Placed:
        """Those no house hides, far ones first."""
        at = placed(self._route, self._ego, self._actors, np.array([step]))
        shown = ~behind_houses(self._route, float(self._ego.s[step]), float(self._ego.yaw[step]), at.x, at.z)
        order = np.flatnonzero(shown)[np.argsort(-at.z[shown], kind="stable")]
        return Placed(at.frame[order], at.who[order], at.x[order], at.z[order], at.heading[order])

    def _draw(self, draw: ImageDraw.ImageDraw, at: Placed, pixels: Floats, step: int) -> list[Lamp]:
        lamps: list[Lamp] = []
        low, high = pixels.min(1), pixels.max(1)
        for place, who in enumerate(at.who.tolist()):
            height = float(high[place, 1] - low[place, 1])
            if height < TINIEST or high[place, 0] < 0 or low[place, 0] > self._size[0]:
                continue
            haze = float(1 - np.exp(-at.z[place] / self._haze_m))
            if self._actors.kind[who] <= BUS:
                lamps += draw_body(draw, self._body(at, place, pixels[place], haze, height))
            else:
                box = (*low[place].tolist(), *high[place].tolist())
                FIGURES[int(self._actors.kind[who])](draw, self._figure(at, place, box, haze, step))
        return lamps

    def _body(self, at: Placed, place: int, corners: Floats, haze: float, height: float) -> Body:
        who = int(at.who[place])
        kind, size = int(self._actors.kind[who]), self._actors.size[who]
        sides = sides_seen(size, float(at.x[place]), float(at.z[place]), float(at.heading[place]))
        above = (size[2] * KINDS[kind].belt < HEIGHT, size[2] < HEIGHT)
        points = [(x, y) for x, y in corners.tolist()]
        return Body(kind, points, sides, above, int(self._actors.look[who]), haze, height)

    def _figure(self, at: Placed, place: int, box: tuple[float, float, float, float], haze: float, step: int) -> Figure:
        who = int(at.who[place])
        look = int(self._actors.look[who])
        pace = abs(float(self._actors.along[who])) + abs(float(self._actors.across[who]))
        moving = pace > 0.05 or self._actors.kind[who] != WALKER
        phase = look % 7 + (PACE * step / BASE_HZ if moving else 0.3)
        aside = abs(float(np.sin(at.heading[place] - np.arctan2(at.x[place], at.z[place]))))
        return Figure(*box, look, phase, aside, haze)

    def _turn(self, step: int) -> float:
        """How far the picture moves sideways during one exposure, in pixels."""
        before = max(step - 1, 0)
        s, yaw = self._ego.s, self._ego.yaw
        heading = np.interp(s[[before, step]], self._route.grid, self._route.heading) + yaw[[before, step]]
        per_s = float(heading[1] - heading[0]) * BASE_HZ
        return -per_s * self._sensor.exposure_s * FOCAL * self._size[0] / NOMINAL[0]

    def _smeared(self, pixels: Pixels, at: Placed, now: Floats, step: int, turn: float) -> Pixels:
        """Those who move faster through the picture than the picture itself are smeared on their own."""
        if step == 0 or not len(at.who):
            return pixels
        before = self._centres(at.who, step - 1)
        moved = (now[..., 0].mean(1) - before) * BASE_HZ * self._sensor.exposure_s - turn
        result = pixels
        for place in np.flatnonzero(np.abs(moved) > 1.6).tolist():
            (left, top), (right, bottom) = now[place].min(0), now[place].max(0)
            rows = slice(max(0, int(top)), max(0, int(bottom) + 1))
            columns = slice(max(0, int(left)), max(0, int(right) + 1))
            patch = pixels[rows, columns]
            if patch.shape[0] > 2 and patch.shape[1] > 16:
                result = result.copy() if result is pixels else result
                result[rows, columns] = smear(result[rows, columns], float(moved[place]))
        return result

    def _centres(self, who: np.ndarray, step: int) -> Floats:
        """Columns of these actors one step ago; far aside where they were not yet seen."""
        at = placed(self._route, self._ego, self._actors, np.array([step]))
        camera = Camera.looking(self._size, float(self._ego.pitch[step]))
        columns = np.full(len(self._actors.kind), np.nan)
        columns[at.who] = camera.project(outline(self._actors, at))[..., 0].mean(1)
        return np.asarray(columns[who])


def _unhidden(picture: Image.Image, lamps: list[Lamp]) -> list[Lamp]:
    """Those over which nothing was painted."""
    width, height = picture.size
    painted = picture.load()
    assert painted is not None
    result = []
    for lamp in lamps:
        column, row = int(lamp.column), int(lamp.row)
        if 0 <= column < width and 0 <= row < height and painted[column, row] == lamp.painted:
            result.append(lamp)
    return result

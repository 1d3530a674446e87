"""From the world to boxes: who is in the picture, where, and how much of it shows. No pixels are needed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats, Ints, Truth
from paceline.streaming.render.actors import BUS, CAR, KINDS, LABELS, RIDER, Actors
from paceline.streaming.render.camera import FOCAL, NOMINAL, Camera
from paceline.streaming.render.ego import Ego
from paceline.streaming.render.route import Route
from paceline.streaming.render.sight import FARTHEST, Sight

CLOSEST: Final = 1.2  # m to the middle
SMALLEST: Final = (4.0, 6.0)  # width and height in nominal pixels, under which nobody would draw a box
CELL: Final = 2  # nominal pixels: visible shares are counted on a grid of these
SHOWN: Final = 0.04  # less than this share visible: no box
CUT: Final = 0.1  # less than this share within the picture: ignored
CLEAR: Final = 0.10  # less than this share visible: ignored
_CABIN = np.array([kind.cabin for kind in KINDS])
_BELT = np.array([kind.belt for kind in KINDS])
_SIGNS = np.array([(i, j, k) for k in (0, 1) for j in (-0.5, 0.5) for i in (-0.5, 0.5)])  # length, width, height


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """P actors seen in some frames: ``frame`` names which, ``who`` the actor; seen from the car (x right, z ahead)."""

    frame: Ints
    who: Ints
    x: Floats
    z: Floats
    heading: Floats


def placed(route: Route, ego: Ego, actors: Actors, steps: Ints) -> Placed:
    """All that stand in front of the car and within its sides, at these steps of 30 Hz."""
    x, z, heading = actors.world(route, steps)  # [F, N]
    ego_x, ego_z, ego_heading = route.place(ego.s[steps], np.zeros(len(steps)))
    ego_heading = ego_heading + ego.yaw[steps]
    east, north = x - ego_x[:, None], z - ego_z[:, None]
    cos, sin = np.cos(ego_heading)[:, None], np.sin(ego_heading)[:, None]
    right, ahead = east * cos - north * sin, east * sin + north * cos
    seen = (ahead > CLOSEST) & (ahead < FARTHEST) & (np.abs(right) < 0.66 * ahead + 8.0)
    frame, who = np.nonzero(seen)
    turned = heading - ego_heading[:, None]
    return Placed(frame, who, right[seen], ahead[seen], turned[seen])


def outline(actors: Actors, at: Placed) -> Floats:
    """[P, 16, 3]: the corners of the body and of the cabin; flat things face the camera and repeat their four."""
    kind, size = actors.kind[at.who], actors.size[at.who]
    body = np.broadcast_to(_SIGNS, (len(kind), 8, 3)) * size[:, None, :]
    cabin = body.copy()
    front, rear, roof = _CABIN[kind].T
    is_front = _SIGNS[:, 0] > 0
    slope = np.where(_SIGNS[:, 2] > 0, 0.0, 1.0)  # the roof is shorter than the belt line
    lean = np.where(kind == CAR, 0.10, 0.03)[:, None]
    ends = np.where(is_front, front[:, None] - lean * (1 - slope) * 1.4, rear[:, None] + lean * (1 - slope))
    cabin[..., 0] = ends * size[:, :1]
    cabin[..., 1] *= np.where(_SIGNS[:, 2] > 0, roof[:, None], 0.96)
    belt = (_BELT[kind] * size[:, 2])[:, None]
    cabin[..., 2] = np.where(_SIGNS[:, 2] > 0, size[:, 2:], belt)
    body[..., 2] = np.where(_SIGNS[:, 2] > 0, belt, 0.0)
    local = np.concatenate([body, cabin], 1)
    cos, sin = np.cos(at.heading)[:, None], np.sin(at.heading)[:, None]
    x = at.x[:, None] + local[..., 0] * sin + local[..., 1] * cos
    z = at.z[:, None] + local[..., 0] * cos - local[..., 1] * sin
    points = np.stack([x, local[..., 2], z], -1)
    flat = kind > BUS
    points[flat] = _billboard(kind[flat], size[flat], at, flat)
    return points


def _billboard(kind: Ints, size: Floats, at: Placed, flat: np.ndarray) -> Floats:
    """A rider is as wide as one sees of the wheels."""
    turned = np.abs(np.sin(at.heading[flat] - np.arctan2(at.x[flat], at.z[flat])))
    width = np.where(kind == RIDER, size[:, 1] + (size[:, 0] - size[:, 1]) * turned, size[:, 1])
    sides = np.array([-0.5, 0.5, 0.5, -0.5] * 4)
    ups = np.array([0, 0, 1, 1] * 4)
    x = at.x[flat][:, None] + sides * width[:, None]
    z = np.broadcast_to(at.z[flat][:, None], x.shape)
    return np.stack([x, ups * size[:, 2:], z], -1)


def boxes_of(points: Floats, camera: Camera, lower: Floats) -> tuple[Floats, Floats]:
    """[P, 16, 3] -> [P, 4] clipped to the picture, and the share of each box inside it; all is drawn ``lower`` [P] rows down."""
    pixels = camera.project(points)
    pixels[..., 1] += lower[:, None]
    low, high = pixels.min(1), pixels.max(1)
    whole = np.prod(high - low, axis=-1)
    low, high = np.clip(low, 0.0, camera.size), np.clip(high, 0.0, camera.size)
    return np.concatenate([low, high], 1), np.prod(high - low, axis=-1) / np.maximum(whole, 1e-9)


def behind_houses(route: Route, ego_s: float, ego_yaw: float, x: Floats, z: Floats) -> np.ndarray:
    """Whether a wall stands between us and these points: rays are walked in steps."""
    road = Sight.along(route, ego_s, ego_yaw)
    shares = np.linspace(0.08, 0.95, 20)
    middle, s = road.at(z[:, None] * shares)
    beside = x[:, None] * shares - middle
    back = route.setbacks(s)
    return np.asarray(((beside > route.layout.right + back) | (beside < route.layout.left - back)).any(1))


def visible_shares(boxes: Floats, depth: Floats) -> Floats:
    """Painter's order on a coarse grid: the share of each box's cells that nothing nearer covers. Boxes in nominal pixels."""
    height, width = NOMINAL[1] // CELL, NOMINAL[0] // CELL
    grid = np.full((height, width), -1, np.int32)
    low = np.minimum(np.floor(boxes[:, :2] / CELL + 0.5).astype(int), (width - 1, height - 1))
    high = np.maximum(np.floor(boxes[:, 2:] / CELL + 0.5).astype(int), low + 1)
    for place in np.argsort(-depth).tolist():
        (left, top), (right, bottom) = low[place].tolist(), high[place].tolist()
        grid[top:bottom, left:right] = place
    shown = np.bincount(grid[grid >= 0], minlength=len(boxes))
    return np.asarray(shown / np.prod(high - low, axis=1))


def truths(route: Route, ego: Ego, actors: Actors, steps: Ints, patience: int) -> list[Truth]:
    """Boxes in nominal pixels at these steps, as somebody would draw them who sees the whole film: who hides for less than
    ``patience`` frames keeps his box."""
    at = placed(route, ego, actors, steps)
    lower = FOCAL * ego.pitch[steps][at.frame]
    boxes, inside = boxes_of(outline(actors, at), Camera.looking(NOMINAL, 0.0), lower)
    big = (inside > 0) & ((boxes[:, 2:] - boxes[:, :2]) > SMALLEST).all(1)
    borders = np.searchsorted(at.frame, np.arange(len(steps) + 1))
    visible = np.zeros(len(at.who))
    for step, start, end in zip(steps.tolist(), borders[:-1], borders[1:], strict=True):
        rows = np.arange(start, end)[big[start:end]]
        rows = rows[~behind_houses(route, ego.s[step], ego.yaw[step], at.x[rows], at.z[rows])]
        visible[rows] = visible_shares(boxes[rows], at.z[rows])
    clear = np.zeros((len(steps), len(actors.kind)), bool)
    clear[at.frame, at.who] = (visible > CLEAR) & (inside > CUT)
    drawn = _widened(clear, patience)[at.frame, at.who] & big & (inside > CUT)
    classes = LABELS[actors.kind[at.who]]
    kept = (classes >= 0) & (drawn | (visible > SHOWN))
    result = []
    for start, end in pairwise(borders.tolist()):
        rows = np.arange(start, end)[kept[start:end]]
        result.append(Truth(boxes[rows], at.who[rows], classes[rows], visible[rows], ~drawn[rows]))
    return result


def _widened(clear: np.ndarray, patience: int) -> np.ndarray:
    """[F, N]: true also where it is true both a little before and a little later, the two less than ``patience`` frames apart."""
    frames = np.arange(len(clear))[:, None]
    last = np.maximum.accumulate(np.where(clear, frames, -(10**6)), axis=0)
    following = np.minimum.accumulate(np.where(clear, frames, 10**6)[::-1], axis=0)[::-1]
    return np.asarray(following - last <= patience)

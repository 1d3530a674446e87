"""Prints what rendered drives measure beside what is wanted of them: public statistics of real drives.

Wanted: percentiles of one-second windows (10 Hz, 1920 x 1280 scaled to our pixels) and the self-IoU of boxes (30 Hz).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from paceline.streaming.render.camera import NOMINAL
from paceline.streaming.render.drive import Drive
from training.streaming.statistics import FEATURES, PERCENTILES, lag_correlation, self_iou, windows

SCALE: Final = NOMINAL[0] / 1920
WANTED: Final = {
    "boxes": (1.1, 8.6, 19.8, 36.0, 60.0),
    "area": tuple(area * SCALE**2 for area in (860, 3560, 8480, 16000, 45800)),
    "displacement": tuple(way * SCALE for way in (3.2, 15.0, 27.6, 46.0, 146.0)),
    "ego_speed": (0.0, 1.0, 5.4, 10.7, 20.2),
    "longevity": (6.0, 8.5, 9.2, 9.7, 10.0),
}
WANTED_LAGS: Final = {
    "boxes": (0.99, 0.97, 0.94, 0.90),
    "area": (0.77, 0.44, 0.22, 0.19),
    "displacement": (0.67, 0.43, 0.14, 0.08),
}
LAGS: Final = (1, 2, 4, 8)
WANTED_IOU: Final = {
    1: {"small": 0.83, "medium": 0.87, "large": 0.92},
    5: {"small": 0.56, "medium": 0.64, "large": 0.73},
}
WANTED_LOST: Final = {"small": 0.41, "medium": 0.29, "large": 0.15}


def measured_windows(num_logs: int, first_seed: int = 0) -> list[np.ndarray]:
    return [windows(Drive(seed=first_seed + place).log) for place in range(num_logs)]


def calibrate(num_logs: int, num_fast: int) -> None:
    per_log = measured_windows(num_logs)
    every = np.concatenate(per_log)
    print(f"{num_logs} drives, {len(every)} windows\n\n| feature | " + " | ".join(f"p{p}" for p in PERCENTILES) + " |")
    print("|---|" + "---|" * len(PERCENTILES))
    for place, name in enumerate(FEATURES):
        found = np.nanpercentile(every[:, place], PERCENTILES)
        print(
            f"| {name} | " + " | ".join(f"{a:.1f} ({b:.1f})" for a, b in zip(found, WANTED[name], strict=True)) + " |"
        )
    print("\n| autocorrelation | " + " | ".join(f"{lag} s" for lag in LAGS) + " |\n|---|" + "---|" * len(LAGS))
    for name, wanted in WANTED_LAGS.items():
        values = [log[:, FEATURES.index(name)] for log in per_log]
        found_lags = [lag_correlation(values, lag) for lag in LAGS]
        print(f"| {name} | " + " | ".join(f"{a:.2f} ({b:.2f})" for a, b in zip(found_lags, wanted, strict=True)) + " |")
    fast = [Drive(seed=seed, rate_hz=30).log for seed in range(num_fast)]
    print("\n| self-IoU at 30 Hz | small | medium | large |\n|---|---|---|---|")
    for lag, wanted_iou in WANTED_IOU.items():
        ious = self_iou(fast, lag)
        print(
            f"| {lag * 100 / 3:.0f} ms | "
            + " | ".join(f"{ious[size][0]:.2f} ({iou:.2f})" for size, iou in wanted_iou.items())
            + " |"
        )
    lost = self_iou(fast, 5)
    print(
        "| under 0.5 at 167 ms | "
        + " | ".join(f"{lost[size][1]:.2f} ({share:.2f})" for size, share in WANTED_LOST.items())
        + " |"
    )

"""Virtual time: the real schedulers, driven by arrivals and predicted durations, with no device."""

from paceline.sim.arrivals import Arrival, TraceRequest, bursts, every, poisson, read_trace
from paceline.sim.loop import EventLoop
from paceline.sim.replay import Replayed, replay
from paceline.sim.trace import load_arrivals, save_arrivals

__all__ = [
    "Arrival",
    "EventLoop",
    "Replayed",
    "TraceRequest",
    "bursts",
    "every",
    "load_arrivals",
    "poisson",
    "read_trace",
    "replay",
    "save_arrivals",
]

"""Work that a section has to do: cells of their own, one core each, kept as soon as they are there."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common.cells import Cells
from benchmarks.transfer.protocol import Protocol


class Job(NamedTuple):
    """One cell: its name, a function of a module, and what it is given."""

    name: str
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What every section is given. ``folder`` holds networks that one section makes and others read."""

    cells: Cells
    protocol: Protocol
    folder: Path
    num_workers: int = len(os.sched_getaffinity(0))

    def fill(self, jobs: Iterable[Job]) -> None:
        """Does what is not done yet: as many at a time as there are cores, each with one thread.

        More threads on one training would be slower than as many trainings side by side, and would round differently.
        """
        missing = [job for job in jobs if self.cells.get(job.name) is None]
        for name, value in self.done(missing):
            self.cells.put(name, value)

    def done(self, jobs: list[Job]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and results, in the order in which they come."""
        if self.num_workers < 2 or len(jobs) < 2:
            for job in jobs:
                yield job.name, alone(job)
            return
        context = multiprocessing.get_context(
            "spawn"
        )  # a fork would inherit torch's threads in the middle of something
        with ProcessPoolExecutor(min(self.num_workers, len(jobs)), context) as pool:
            waiting = {pool.submit(alone, job): job for job in jobs}
            try:
                for done in as_completed(waiting):
                    yield waiting[done].name, done.result()
            finally:
                pool.shutdown(cancel_futures=True)  # a failure does not wait for the rest


def alone(job: Job) -> dict[str, Any]:
    """Its result, computed with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return job.function(*job.arguments)
    finally:
        torch.set_num_threads(before)

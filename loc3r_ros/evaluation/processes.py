"""An evaluation in several processes, one core each: the same records, whatever their number."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from loc3r_ros.evaluation.records import SceneRecord
from loc3r_ros.evaluation.run import Examiner, Job, Plan, Subject, jobs

BLOCK = 6
"""Scenes that a process measures one after the other: the first of them costs another video."""

_examiner: Examiner
"""Of a process of the pool."""


def run_in_processes(
    make_subject: Callable[[], Subject], plan: Plan, done: Mapping[int, SceneRecord], processes: int
) -> Iterator[SceneRecord]:
    """Yield the records of `run.run`, in their order.

    Args:
        make_subject: makes the localizers in each process; it must be picklable, and so must the plan.
        plan: what is asked.
        done: records of an earlier run.
        processes: beside this one, which renders the scenes.
    """
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start, (make_subject, plan))
    running: deque[Future[list[SceneRecord]]] = deque()
    try:
        rest = jobs(plan, done)
        while block := list(itertools.islice(rest, BLOCK)):
            running.append(pool.submit(_examine, block))
            if len(running) > 2 * processes:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(make_subject: Callable[[], Subject], plan: Plan) -> None:
    global _examiner
    _examiner = Examiner(make_subject(), plan)


def _examine(block: list[Job]) -> list[SceneRecord]:
    return [_examiner.examine(job) for job in block]

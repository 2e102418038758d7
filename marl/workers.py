"""Work for several processes, which end with the one that started them."""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def spread(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Generator[Result, None, None]:
    """Yields `function(job)` of each job, in order, computed in `workers` processes.

    Jobs are taken as they are needed, two for each process. However the iteration ends (an error, an interrupt,
    `close`, the death of this process), the processes end with it, in the middle of what they do.
    Raises: ValueError if a process was ended from outside.
    """
    context = get_context("spawn")
    lifeline, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(lifeline,))
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            with _interrupt_later():
                waiting.append(pool.submit(function, job))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ValueError(
            "a process that played was ended from outside (perhaps for want of memory); give the same command again"
        ) from None
    finally:
        for process in list((pool._processes or {}).values()):  # those too that are still importing, for seconds
            process.terminate()
        pool.shutdown(cancel_futures=True)
        ours.close()
        lifeline.close()


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Keeps Ctrl-C waiting. A process that is started here inherits that, so that none is met by the half-imported
    program of a worker, with a traceback, before `_start`."""
    # Trap: starting multiprocessing's resource tracker lets interrupts through again; the pool has started it already.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(lifeline: Connection) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it at once and without a traceback
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """Ends this process when the other end of the pipe is closed, as the system does where `spread` was killed."""
    lifeline.poll(None)
    os._exit(1)

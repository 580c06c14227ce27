"""Worker processes that end with the process that started them, however that ends."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from lab7.utils.files import Failure


@contextlib.contextmanager
def process_pool(workers: int, threads: int = 0) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes, each with so many threads of torch (0: as torch chooses), killed where the block
    ends by an exception. Raises Failure if one of them dies."""
    others = set(multiprocessing.active_children())
    # The workers inherit this, so that a terminal's Ctrl-C reaches their parent alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (threads,))
        for _ in range(workers):
            pool.submit(int)  # starts a process
    except OSError as error:  # of their locks, which lie in /dev/shm
        raise Failure(f"no worker process can be started ({error.strerror}); is /dev/shm writable?") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield pool
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise Failure("a worker process ended; was there enough memory? The same command goes on") from None
        raise
    pool.shutdown()


def _start_worker(threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()  # before torch, whose import takes seconds
    if threads:
        import torch  # here, so that the processes that render start without it

        torch.set_num_threads(threads)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # type: ignore[union-attr]
    os._exit(1)

"""Worker processes end with the process that started them, however that ends."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from lab7.utils.files import ROOT, Failure
from lab7.utils.pool import process_pool

CODE = """
import os, time
from lab7.utils.pool import process_pool
if __name__ == "__main__":
    with process_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
"""
SLOW_TORCH = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def gone(pid: int) -> bool:
    """Whether the process is not there, or dead and not yet fetched by its parent."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number, begins", [(signal.SIGKILL, False), (signal.SIGINT, False), (signal.SIGKILL, True)])
def test_a_worker_ends_with_its_parent_and_says_nothing(tmp_path, number, begins):
    (tmp_path / "run.py").write_text(CODE.replace("pool(1)", "pool(1, threads=1)") if begins else CODE)
    if begins:  # the worker is still importing torch
        (tmp_path / "torch.py").write_text(SLOW_TORCH)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "run.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    worker = int(process.stdout.readline())
    os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()  # a terminal's Ctrl-C reaches both
    begin = time.monotonic()
    while not gone(worker):
        assert time.monotonic() - begin < 5
        time.sleep(0.05)
    _, err = process.communicate(timeout=5)
    assert err.count("Traceback") == (number == signal.SIGINT)  # the parent's own


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(Failure, match="a worker process ended"), process_pool(1) as pool:
        pool.submit(os._exit, 1).result()


def test_where_locks_cannot_be_made_the_cause_is_named(monkeypatch):
    def refuse(*_args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", refuse)
    message = "no worker process can be started .Read-only file system.; is /dev/shm"
    with pytest.raises(Failure, match=message), process_pool(1):
        pass

import platform
import subprocess
import sys

import pytest

from lab7.utils.memory import keep_memory

COUNT = """
import resource, torch
from lab7.utils.memory import keep_memory
torch.set_num_threads(1)
def faults():
    for _ in range(10):
        torch.ones(12_000_000)  # beyond what glibc learns to keep by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(12_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
assert keep_memory()
print(faults(), given_back)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone gives memory back and has mallopt")
def test_memory_is_not_asked_for_again():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    kept, given_back = map(int, done.stdout.split())
    assert kept < 0.1 * given_back


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_memory() is False

"""`lab7 ablate --submit slurm` on a real Slurm, which run.sh starts on this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.sh")


@pytest.mark.skipif(
    not (os.environ.get("CI") == "true" and sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get")),
    reason="installs and starts Slurm: CI=true, as root, on Debian (or by hand: tests/cluster/run.sh)",
)
def test_a_sweep_on_a_cluster_survives_preemption_and_kills():
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", RUN], env=os.environ | {"PATH": path}, text=True, capture_output=True, timeout=900)
    assert done.returncode == 0 and "the same table and the same weights" in done.stderr, done.stderr

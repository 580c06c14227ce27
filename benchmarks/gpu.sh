#!/usr/bin/env bash
# Trainings prepared for a machine with one GPU and no network: the report's arms, or preset best.
#
#     benchmarks/gpu.sh arms|network
#
# They end within MINUTES (default 9); the same command goes on with what is unfinished. Results are put into OUT
# (default build/gpu), a few files below 16 MiB each. TOY=1 tries everything at toy size on a CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
export PYTHONPATH=. PYTHONUNBUFFERED=1
"$python" - <<'END'
import importlib.util, sys

needed = "accelerate numba numpy pandas PIL safetensors torch torchvision tqdm".split()
if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
    sys.exit(f"gpu.sh: {', '.join(missing)} cannot be imported by {sys.executable}; bring wheels")
END
exec "$python" -m benchmarks.gpu "${1:-arms}" --out "${OUT:-build/gpu}" --minutes "${MINUTES:-9}" ${TOY:+--toy}

"""Scripts behind BENCHMARKS.md and the recorded files in data/, run as `python -m benchmarks.NAME`."""

"""What the lab promises of commands that are killed or stopped at any moment, and of files that rot.

    python -m benchmarks.faults kills --count 60      # about 40 minutes on two cores
    python -m benchmarks.faults stops --count 60      # about 15 minutes
    python -m benchmarks.faults corrupt --count 500   # about four minutes

Each prints one line for each fault, then a table of the rounds, and exits with 1 if there was a fault.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import print_table, run
from benchmarks.record import write_record
from lab7.ablation.results import read_record, read_result
from lab7.config import get_preset, override
from lab7.dataset.layout import describe, load_pictures
from lab7.judge.evaluation import recorded
from lab7.judge.networks import load_judge
from lab7.pipeline import load_pipeline
from lab7.training.run import Run
from lab7.training.run_folder import read_metrics
from lab7.utils.files import ROOT, Failure, UserError

SMALL = ("--set", "epochs=2", "sampling.num_steps=2", "judge_scenes=4", "evaluation_scenes=2", "save_every=3")
TRAIN = ("train", "--preset", "smoke", "--no-score", "--name", "mine", "--set", "epochs=9", "save_every=3")
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # the first, and the same again
    "data": (("data", "--scenes", "450", "--size", "24x24"),) * 2,
    "train": (TRAIN, (*TRAIN, "--resume")),
    "ablate": (("ablate", "--preset", "smoke", "--jobs", "2", *SMALL),) * 2,
    "report": (("report", "--preset", "smoke"),) * 2,
}
TIMES = {"seconds", "images_per_second", "scored", "checksum", "crc32", "weights_sha256"}  # may differ between runs
LEFT_OVERS = (".*.tmp", ".lock")


def kills(count: int = 60, seed: int = 0, commands: tuple[str, ...] = tuple(COMMANDS)) -> dict[str, int]:
    """Kill commands (kill -9) at random moments, give them again, and compare with a run that was not killed.

    Args:
        count: Kills; of a report, which takes minutes, only every tenth.
        seed: Of the moments.
        commands: Of data, train, ablate and report.
    """
    chance, rounds = random.Random(seed), Counter[str]()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        pictures = home / "pictures"
        if commands != ("data",):
            _whole(home / "none", pictures, ("data", "--scenes", "12"))
        expected: dict[str, tuple[dict[str, str], float]] = {}
        for number in range(count):
            rare = "report" in commands and (number % 10 == 9 or commands == ("report",))
            quick = [one for one in commands if one != "report"]
            command = "report" if rare else quick[number % len(quick)]
            first, again = COMMANDS[command]
            if command not in expected:
                place = home / f"{command}_whole"
                begin = time.monotonic()
                if error := _whole(place, pictures, first):
                    raise Failure(f"{command}, not killed: {error}")
                expected[command] = _content(place), time.monotonic() - begin
            place = home / f"{command}_{number}"
            process, moment = _start(place, pictures, first), chance.uniform(0.1, 1.0) * expected[command][1]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
            process.wait()
            title = f"{command}, killed after {moment:.1f} s"
            rounds[command] += 1
            print(f"\r{number + 1} of {count}", end="", file=sys.stderr, flush=True)
            if alive := _outlive(place):
                _note(faults, f"{title}: processes {alive} live on")
            if error := _whole(place, pictures, again):
                _note(faults, f"{title}: again: {error}")
            elif different := _difference(expected[command][0], _content(place)):
                _note(faults, f"{title}: other content: {different}")
            if left := [str(path.relative_to(place)) for like in LEFT_OVERS for path in place.rglob(like)]:
                _note(faults, f"{title}: left over: {left}")
    return _finish(faults, rounds)


def stops(count: int = 60, seed: int = 0, commands: tuple[str, ...] = tuple(COMMANDS)) -> dict[str, int]:
    """Send commands Ctrl-C (SIGINT) and SIGTERM at random moments: one line, exit code 130 or 143, no process left.

    Every other signal goes to the command and all its children at once, as from a terminal.

    Args:
        count: Signals.
        seed: Of the moments.
        commands: Of data, train, ablate and report.
    """
    chance, rounds = random.Random(seed), Counter[str]()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        _whole(home / "none", home / "pictures", ("data", "--scenes", "12"))
        for number in range(count):
            command, place = commands[number % len(commands)], home / f"{number}"
            kind = chance.choice((signal.SIGINT, signal.SIGTERM))
            process = _start(place, home / "pictures", COMMANDS[command][0])
            while process.poll() is None and not _handles(process.pid, signal.SIGTERM):  # Python itself is starting
                time.sleep(0.02)
            moment = chance.uniform(0, 20 if command in ("ablate", "report") else 8)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            if process.poll() is None:
                (os.killpg if number % 2 else os.kill)(process.pid, kind)
            begin = time.monotonic()
            code = process.wait(60)
            took, said = time.monotonic() - begin, (place / "stderr").read_text()
            lines = [line for line in said.replace("\r", "\n").splitlines() if "lab7: " in line]
            title = f"{command}, {kind.name} after {moment:.1f} s"
            ended = code == 0  # before the signal
            if code not in (0, 128 + kind) or (not ended and len(lines) != 1) or "Traceback" in said:
                _note(faults, f"{title}: exit code {code}: {said[-600:]}")
            if took > 5 or _outlive(place):
                _note(faults, f"{title}: took {took:.1f} s, left {_outlive(place)}")
            rounds[f"{command}: {'ended before' if ended else kind.name}"] += 1
    return _finish(faults, rounds)


def _handles(pid: int, kind: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt"):
                return bool(int(line.split()[1], 16) >> (kind - 1) & 1)
    return False


def _start(place: Path, pictures: Path, words: tuple[str, ...]) -> subprocess.Popen:
    """One command, with all that it writes in `place`, which also marks its processes."""
    data = place / "data" if words[0] == "data" and place.name != "none" else pictures
    places = {"RUNS": place / "runs", "BUILD": place / "build", "DATA": data}
    environment = os.environ | {f"LAB7_{name}": str(path) for name, path in places.items()}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    place.mkdir(exist_ok=True)
    with open(place / "stderr", "w") as file:
        command = [sys.executable, "-m", "lab7.cli", *words]
        ctrl_c = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # which a shell turns off
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": file, "start_new_session": True}
        return subprocess.Popen(command, env=environment, preexec_fn=ctrl_c, **pipes)


def _whole(place: Path, pictures: Path, words: tuple[str, ...]) -> str:
    """Run one command to its end; what went wrong, or ""."""
    code = _start(place, pictures, words).wait(1200)
    error = (place / "stderr").read_text()
    return f"exit code {code}: {error[-300:]}" if code or "Traceback" in error else ""


def _outlive(place: Path, seconds: float = 5.0) -> list[int]:
    """The processes with `place` in their environment that are alive after some seconds."""
    mark, until = os.fsencode(f"LAB7_BUILD={place / 'build'}"), time.monotonic() + seconds
    alive = [0]
    while alive and time.monotonic() < until:
        alive = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    alive.append(int(path.parent.name))
        time.sleep(0.1)
    return alive


def _content(place: Path) -> dict[str, str]:
    """What every file holds, without times: its digest, by its path in `place`. Figures and pages are left out."""
    content = {}
    kept = ("*.safetensors", "*.png", "train.json", "synthetic.json", "config.json", "result.json", "metrics.jsonl")
    for path in sorted({path for like in kept for path in place.rglob(like)}):
        data = path.read_bytes()
        if "figures" in path.parts or "weights" in path.parts:
            continue
        if path.suffix in (".json", ".jsonl"):
            lines = data.splitlines() if path.suffix == ".jsonl" else [data]
            data = json.dumps([_without_times(json.loads(line)) for line in lines], sort_keys=True).encode()
        content[str(path.relative_to(place))] = hashlib.sha256(data).hexdigest()
    return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if key not in TIMES}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def _difference(first: dict[str, str], second: dict[str, str]) -> list[str]:
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))[:5]


def corrupt(count: int = 500, seed: int = 0) -> dict[str, int]:
    """Flip one to three bytes of a file that the lab reads: it must refuse it in one line, or read the same as before.

    Args:
        count: Rounds; every kind of file has the same number.
        seed: Of the bytes.
    """
    chance, rounds = random.Random(seed), Counter[str]()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        readers = dict(_readers(Path(name)))
        for number in range(count):
            kind = list(readers)[number % len(readers)]
            files, read = readers[kind]
            path = chance.choice(files)
            whole, status = path.read_bytes(), path.stat()
            expected = read()
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                damaged[chance.randrange(len(whole))] ^= chance.randint(1, 255)
            path.write_bytes(damaged)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
            try:
                outcome = "the same" if read() == expected else "SILENT"
            except (UserError, Failure) as error:
                outcome = "refused" if "\n" not in str(error) else "MANY LINES"
            except Exception as error:
                outcome = f"TRACEBACK {type(error).__name__}: {str(error)[:200]}"
            if outcome not in ("the same", "refused"):
                _note(faults, f"{kind}, round {number}: {path.name}: {outcome}")
            rounds[f"{kind}: {outcome.split(' ')[0] if outcome[0].isupper() else outcome}"] += 1
            path.write_bytes(whole)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return _finish(faults, rounds)


def _readers(place: Path) -> Iterator[tuple[str, tuple[list[Path], Callable[[], Any]]]]:
    """By kind: files, and what the lab reads from them. All are made here, by the lab's own commands."""
    from lab7.cli.main import main

    places = {"DATA": place / "data", "RUNS": place / "runs", "BUILD": place / "build"}
    os.environ |= {f"LAB7_{name}": str(path) for name, path in places.items()}
    data, runs = places["DATA"], places["RUNS"]
    judge = data / "weights" / "judge.safetensors"
    few = ["judge_scenes=2", "judge_epochs=1", "evaluation_scenes=1"]
    settings = ["epochs=1", "n_feature=8", "sampling.num_steps=2", "samples=1"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["data", "--scenes", "4", "--size", "16x16"])
        main(["judge", "--train", "--kind", "small", "--out", str(judge), "--set", *few])
        main(["train", "--preset", "smoke", "--name", "report_up", "--set", *settings])
    write_record(runs / "ablation.json", runs, ["report_up"])
    preset, folder = override(get_preset("smoke"), settings), runs / "report_up"

    def read_run() -> str:
        resumed = Run(preset, folder, resume=True, progress=False, data=data)
        return _digest(resumed.net.state_dict(), resumed.optimizer.state_dict(), resumed.step, resumed.before)

    def read_weights() -> str:
        pipeline = load_pipeline(folder)
        return _digest(pipeline.model.state_dict(), vars(pipeline.normaliser), pipeline.preset)

    def read_data() -> str:
        pictures = load_pictures(data, 32)
        return _digest(pictures.images, pictures.labels, pictures.names, describe(data))

    def read_png() -> str:
        pictures = load_pictures(data, 32)
        return _digest(pictures.images, pictures.labels, pictures.names)

    def read_judge() -> str:
        return _digest(load_judge(judge).model.state_dict())

    yield "weights", ([folder / "weights.safetensors"], read_weights)
    yield "checkpoint", ([folder / "checkpoint.pt"], read_run)
    yield "config", ([folder / "config.json"], read_run)
    yield "result", ([folder / "result.json"], lambda: read_result(folder))
    yield "metrics", ([folder / "metrics.jsonl"], lambda: read_metrics(folder))
    yield "record", ([runs / "ablation.json"], lambda: read_record(runs / "ablation.json"))
    yield "cache", (sorted((data / "cache").glob("pictures_32.*")), read_data)
    yield "labels", ([data / "train.json", data / "synthetic.json"], read_data)
    yield "pictures", (sorted((data / "iclevr").glob("*.png")), read_png)
    yield "judge", ([judge], read_judge)
    yield "judge's record", ([judge.with_suffix(".json")], lambda: recorded(load_judge(judge), data))


def _digest(*values: Any) -> str:
    return repr([_plain(value) for value in values])


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.cpu().contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _note(faults: list[str], fault: str) -> None:
    print(fault, flush=True)
    faults.append(fault)


def _finish(faults: list[str], rounds: Counter[str]) -> dict[str, int]:
    print_table(["", "rounds"], sorted(rounds.items()))
    print(f"{len(faults)} faults in {sum(rounds.values())} rounds")
    if faults:
        sys.exit(1)
    return dict(rounds)


if __name__ == "__main__":
    run(kills, stops, corrupt)

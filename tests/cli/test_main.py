"""The command line: exit codes, one line for a mistake, what is written, what stands on stdout."""

import errno
import json
import os
import sys

import pytest
import torch
from PIL import Image

from lab7.ablation.arms import ARMS, arm_preset
from lab7.cli.main import COMMANDS, main
from lab7.cli.options import print_result
from lab7.config import get_preset, override, to_dict
from lab7.dataset import synthetic
from lab7.dataset.normalizer import Normaliser
from lab7.judge.networks import build_classifier
from lab7.pipeline import build_model, save_weights
from lab7.utils.files import read_json, shipped_dir, write_json
from lab7.vocabulary import CLASSES

CONDITIONS = ["red cube, cyan sphere", "gray cube"]
TINY = ["--set", "epochs=1", "sampling.num_steps=2"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a network that was never trained."""
    preset = override(get_preset("smoke"), ["sampling.num_steps=2"])
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, build_model(preset), Normaliser(torch.zeros(3, 32, 32), torch.tensor(1.0)), preset)
    return path


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to stand in, with runs and builds of its own, and data only where a test makes some."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "RUNS", "BUILD"):
        monkeypatch.setenv(f"LAB7_{name}", str(tmp_path / name.lower()))
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def course_judge(place):
    torch.save({"model": build_classifier().state_dict()}, place / "data" / "checkpoint.pth")


def call(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # the parser's own way out
        code = stopped.code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def refused(capsys, *arguments) -> str:
    """The one line on stderr about a mistake."""
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    *progress, message = filter(None, err.splitlines())
    assert message.startswith("lab7: ") and all("%|" in line for line in progress), err
    return message


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_shows_an_example(capsys, command):
    code, out, _ = call(capsys, *command, "--help")
    assert code == 0
    assert f"Example: lab7 {command[0]}" in " ".join(out.split()) if command else "report" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bake"], "unknown command 'bake'"),
        (["tran"], "did you mean 'train'?"),
        ([], "doctor"),
        (["train", "--preset", "quik"], "unknown preset 'quik'; did you mean 'quick'?"),
        (["report", "--preset", "huge"], "laptop"),
        (["train", "--set"], "--set"),
        (["sample", "--conditions", "red cube", "--out", "x", "--samples", "two"], "two"),
        (["data", "--scenes"], "scenes"),
    ],
)
def test_what_the_parser_refuses(capsys, arguments, message):
    code, out, err = call(capsys, *arguments)
    assert code == 2 and out == "" and message in err


def test_train_refuses_unknown_and_bad_settings(capsys):
    assert "did you mean 'epochs'?" in refused(capsys, "train", "--preset", "smoke", "--set", "epoch=1")
    assert "epochs must be a whole number, not 'many'" in refused(capsys, "train", "--set", "epochs=many")
    assert "not of the form field=value" in refused(capsys, "train", "--set", "epochs")
    assert "--name must be" in refused(capsys, "train", "--name", "../elsewhere")


def test_a_setting_may_be_repeated_or_joined(capsys):
    for first, second in (("epochs=1", "epoch=2"), ("epoch=2", "epochs=1")):
        for words in ([first, second], [first, "--set", second], [first, "--name", "x", "--set", second]):
            assert "unknown setting 'epoch'" in refused(capsys, "train", "--set", *words)


def test_train_without_pictures(capsys):
    message = refused(capsys, "train", "--preset", "smoke", "--no-score")
    assert "train.json: no such file; run `lab7 data`" in message


def test_a_mistyped_folder_of_pictures(capsys, place, monkeypatch):
    monkeypatch.setenv("LAB7_DATA", "corse")
    pictures = ["--images", "x", "--conditions", "red cube"]
    for words in (["train", "--preset", "smoke"], ["judge", *pictures], ["report"], ["ablate"]):
        assert "corse: no such folder; mend its name, or render pictures there" in refused(capsys, *words)
    code, out, _ = call(capsys, "doctor")
    assert code == 1 and "FAIL  data" in out and not (place / "corse").exists()
    assert call(capsys, "data", "--scenes", 1)[0] == 0 and (place / "corse" / "train.json").exists()


def test_train_with_a_corrupt_picture(capsys, course_folder, monkeypatch):
    monkeypatch.setenv("LAB7_DATA", str(course_folder))
    first = sorted((course_folder / "iclevr").iterdir())[0]
    first.write_bytes(first.read_bytes()[:100])
    message = refused(capsys, "train", "--preset", "smoke", *TINY)
    assert first.name in message


def test_a_folder_that_was_deleted(capsys, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for words in (["doctor"], ["data", "--scenes", 1]):
        assert "the folder that you are in was deleted" in refused(capsys, *words)


def test_train_with_a_bad_list(capsys, course_folder, place, monkeypatch):
    monkeypatch.setenv("LAB7_DATA", str(course_folder))
    for name in ("new_test", "test"):
        (course_folder / f"{name}.json").write_text('[["red cub"]]')
        assert f"{name}.json: entry 1: unknown label" in refused(capsys, "train", "--preset", "smoke", *TINY)
    assert not (place / "runs" / "smoke" / "config.json").exists()  # before the first step


def test_data_refuses_a_bad_size(capsys):
    for size in ("64", "0x0", "64x64x64", "-4x4", "100000x100000"):
        assert "size must" in refused(capsys, "data", f"--size={size}")


def test_data_writes_and_counts(capsys, place):
    code, out, _ = call(capsys, "data", "--scenes", 2, "--size", "32x24", "--seed", 3, "--out", "made")
    assert (code, out) == (0, "made: 6 pictures of 2 scenes\n")
    with Image.open(place / "made" / "iclevr" / "CLEVR_train_000001_2.png") as picture:
        assert picture.size == (32, 24)
    assert "at least 1" in refused(capsys, "data", "--scenes", 0, "--out", "none")


def test_sample_draws_every_condition(capsys, place, weights):
    draw = ["sample", "--weights", weights, "--seed", 4]
    code, out, _ = call(capsys, *draw, "--conditions", *CONDITIONS, "--samples", 2, "--out", "a")
    assert code == 0 and out.startswith("a: 4 pictures of 2 conditions")
    names = ["000_0.png", "000_1.png", "001_0.png", "001_1.png"]
    assert sorted(path.name for path in (place / "a").iterdir()) == [
        *names,
        "conditions.json",
        "grid.png",
        "pictures.json",
    ]
    with Image.open(place / "a" / "000_0.png") as picture:
        assert picture.size == (64, 64)

    again = ["--conditions", "a/conditions.json", "--samples", 2, "--out", "b", "--json"]
    code, out, _ = call(capsys, *draw, *again)
    assert code == 0 and json.loads(out)["pictures"] == names
    for name in names:
        assert (place / "a" / name).read_bytes() == (place / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conditions", "red cub"], "did you mean 'red cube'?"),
        (["--conditions", "a red cube and a cyan sphere"], 'write "red cube, cyan sphere"'),
        (["--conditions", "red cube, red cube"], "red cube"),
        (["--conditions", ""], ""),
        (["--conditions", "nowhere.json"], "nowhere.json: no such file"),
        (["--conditions", "red cube", "--samples", "0"], "at least 1"),
        (["--conditions", "red cube", "--samples", "1000000000"], "at most 100000"),
        (["--conditions", *CLASSES, "--samples", "100000"], "are 2400000 pictures; draw at most 1000000 at a time"),
        (["--conditions", "red cube", "--steps", "0"], "steps"),
        (["--conditions", "red cube", "--steps", "1001"], "steps"),
    ],
)
def test_sample_refuses(capsys, place, weights, arguments, message):
    assert message in refused(capsys, "sample", "--weights", weights, "--out", "out", *arguments)
    assert not (place / "out").exists()


def test_sample_refuses_weights_that_are_none(capsys, place):
    draw = ["sample", "--conditions", "red cube", "--out", "out", "--weights"]
    assert "nowhere.safetensors: no such weights" in refused(capsys, *draw, "nowhere.safetensors")
    (place / "odd.safetensors").write_bytes(b"no weights at all")
    assert "odd.safetensors: not weights that" in refused(capsys, *draw, "odd.safetensors")
    message = refused(capsys, *draw, shipped_dir() / "runs" / "report_up")
    assert "recorded without weights; of the shipped runs only 'laptop' has some" in message


def test_judge_reads_both_forms_of_names(capsys, place, course_judge):
    conditions = [["red cube"], ["cyan sphere", "gray cube"]]
    (place / "list.json").write_text(json.dumps(conditions))
    (place / "one").mkdir(), (place / "many").mkdir()
    for index in range(2):
        picture = Image.new("RGB", (64 + index, 64), (90 * index, 40, 40))
        picture.save(place / "one" / f"{index:03d}.png")
        for k in range(3):
            picture.save(place / "many" / f"{index:03d}_{k}.png")
    picture.save(place / "many" / "grid.png")

    code, out, _ = call(capsys, "judge", "--images", "one", "--conditions", "list.json", "--json")
    one = json.loads(out)
    assert code == 0 and one["pictures"] == 2 and one["top_k"]["total"] == 3 and one["judge"]["is_course"]
    code, out, _ = call(capsys, "judge", "--images", "many", "--conditions", "red cube", "cyan sphere, gray cube")
    hits = f"top-k: {3 * one['top_k']['hits']}/9 = "
    assert code == 0 and out.startswith("6 pictures, the course's judge") and hits in out and "95% interval" in out
    assert "ceiling: unknown, for the course's judge" in out


def test_judge_refuses(capsys, place, course_judge):
    count = ["judge", "--conditions", "red cube", "--images"]
    assert "nowhere: no such folder" in refused(capsys, *count, "nowhere")
    assert "say --images DIR and --conditions" in refused(capsys, "judge")
    (place / "empty").mkdir()
    assert "holds no pictures named" in refused(capsys, *count, "empty")
    Image.new("RGB", (64, 64)).save(place / "empty" / "001.png")
    assert "only 1 conditions are given" in refused(capsys, *count, "empty")
    assert "have no picture, 000.png first" in refused(capsys, *count[:2], "red cube", "red cube", "--images", "empty")
    (place / "empty" / "000.png").write_bytes(b"none")
    assert "000.png: not a picture" in refused(capsys, *count[:2], "red cube", "red cube", "--images", "empty")
    message = refused(capsys, *count, "empty", "--weights", "no.pth")
    assert "no.pth: no such file" in message


def test_without_the_courses_judge_ours_speaks(capsys, place, weights):
    if not (shipped_dir() / "weights" / "judge.safetensors").exists():
        pytest.skip("the shipped judge is not in this checkout")
    call(capsys, "sample", "--weights", weights, "--conditions", *CLASSES[:3], "--out", "drawn")
    code, out, _ = call(capsys, "judge", "--images", "drawn")  # of drawn/conditions.json
    assert code == 0 and "ceiling: on unseen renders this judge finds 0.99" in out


def test_the_report_refuses_what_no_notebook_has(capsys):
    message = refused(capsys, "report", "--preset", "smoke", "--set", "sead=1")
    assert "no notebook has the parameter 'sead'; did you mean 'seed'?" in message
    assert "seed must be" in refused(capsys, "report", "--set", "seed=many")


def test_a_full_run_is_refused_the_second_time_and_continues_with_resume(capsys, course_folder, monkeypatch):
    monkeypatch.setenv("LAB7_DATA", str(course_folder))
    monkeypatch.setattr(
        synthetic.os, "sched_getaffinity", lambda pid: {0}, raising=False
    )  # other processes take longer to start
    for name in ("test", "new_test"):
        write_json(course_folder / f"{name}.json", [["red cube"], ["cyan sphere", "gray cube"]])
    train = ["train", "--preset", "smoke", "--name", "mine", *TINY]
    code, out, err = call(capsys, *train, "--json")
    assert code == 0 and json.loads(out)["judge"]["is_course"] and "mine" in err
    assert "holds a run already; go on with --resume" in refused(capsys, *train)
    assert "was begun with data.image_size=32" in refused(capsys, *train, "image_size=64", "--resume")
    code, out, _ = call(capsys, "train", "--name", "mine", "--resume")  # with the settings that it was begun with
    assert code == 0 and "test: " in out and "95% interval" in out
    run = course_folder.parent / "runs" / "mine" / "result.json"
    one_draw = json.loads(run.read_text())["accuracy"]
    code, out, _ = call(capsys, "score", "mine", "--set", "samples=2")
    assert code == 0 and "test, exact: " in out
    twice = json.loads(run.read_text())["accuracy"]
    assert twice["test"]["top_k"]["total"] == 2 * one_draw["test"]["top_k"]["total"]
    assert "was trained with train.epochs=1, not 2" in refused(capsys, "score", "mine", "--set", "epochs=2")
    assert "nowhere: no such run in runs/" in refused(capsys, "score", "nowhere")


def test_runs_are_compared_by_name_folder_and_several_seeds(capsys, place):
    def result(name, hits, sha="a"):
        found = {"by_picture": {"hits": hits, "asked": [1, 2]}}
        accuracy = {"test": found | {"second_judge": found}}
        run = {"name": name, "judge": {"sha256": sha}, "accuracy": accuracy}
        write_json(place / "runs" / name / "result.json", run)

    result("good", [[1, 1], [2, 2]])
    result("good_1", [[1, 1], [2, 1]])
    result("bad", [[0, 0], [0, 1]])
    result("other", [[0, 0], [0, 1]], sha="b")
    code, out, _ = call(capsys, "judge", "--compare", "good,good_1", "bad")
    assert code == 0 and "test, judge: 0.917 and 0.167, +0.750 [" in out and "test, second judge" in out
    assert out.splitlines()[1].endswith(": one training") and "no verdict: it needs 3 seeds an arm" in out
    code, out, _ = call(capsys, "judge", "--compare", str(place / "runs" / "good"), "bad", "--json")
    assert code == 0 and json.loads(out)[0]["difference"] > 0
    assert "nowhere: no such run" in refused(capsys, "judge", "--compare", "good", "nowhere")
    assert "scored by different judges" in refused(capsys, "judge", "--compare", "good", "other")


def test_a_judge_is_evaluated(capsys, place):
    code, out, _ = call(capsys, "judge", "--evaluate", "--set", "evaluation_scenes=2", "--out", "exam.json")
    assert code == 0 and "shifted top_k" in out
    assert json.loads((place / "exam.json").read_text())["evaluation"]["pictures"] == 6


def test_arms_are_listed_and_a_finished_sweep_is_printed(capsys, place):
    code, out, _ = call(capsys, "ablate", "--preset", "smoke", "--list")
    assert code == 0 and all(name in out for name in ARMS) and "recorded: 0, 1" in out
    found = {"by_picture": {"hits": [[2, 2], [0, 1]], "asked": [2, 2]}}
    result = {"name": "report_up_seed1", "seed": 1, "accuracy": {"test": found}, "judge": {"sha256": "a"}}
    result["settings"] = to_dict(arm_preset(ARMS["report_up"], override(get_preset("smoke"), ["train.seed=1"])))
    write_json(place / "build" / "smoke" / "runs" / "report_up_seed1" / "result.json", result)
    sweep = ["ablate", "--preset", "smoke", "--arms", "report_up", "--seeds", "1"]
    code, out, err = call(capsys, *sweep)
    assert code == 0 and "only, test: 0.625 [" in out and "no baseline of the same seed (1 seed)" in out and err == ""
    assert [row["arm"] for row in json.loads(call(capsys, *sweep, "--json")[1])] == ["report_up"] * 2
    assert json.loads(call(capsys, "ablate", "--preset", "smoke", "--list", "--json")[1])["report_up"]["finished"] == [
        1
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "up"], "unknown arm 'up'"),
        (["--preset", "quick"], "only reads recorded runs"),
        (["--jobs", "3", "--submit", "local"], "--submit goes without --jobs and --list"),
        (["--seeds", "many"], "--seeds must be whole numbers such as 0-4 or 0,2,7, not 'many'"),
    ],
)
def test_ablate_refuses(capsys, place, arguments, message):
    assert message in refused(capsys, "ablate", *arguments)


def test_a_disk_that_cannot_be_written(capsys, place, weights):
    (place / "file").write_text("in the way")
    message = refused(capsys, "sample", "--weights", weights, "--conditions", "red cube", "--out", "file/out")
    assert "cannot be written" in message


LONG = "n" * 300


@pytest.mark.parametrize("bad", ["loop", LONG, f"{LONG}/x", "\u3042" * 100])
def test_a_loop_of_links_and_a_name_that_is_too_long(capsys, place, weights, monkeypatch, bad):
    (place / "loop").symlink_to("loop")
    draw = ["sample", "--conditions", "red cube", "--weights"]
    refused(capsys, *draw, bad, "--out", "out")
    refused(capsys, "judge", "--images", bad, "--conditions", "red cube")
    refused(capsys, "judge", "--images", place, "--conditions", "red cube", "--weights", bad)
    refused(capsys, "judge", "--train", "--weights", bad)
    refused(capsys, "judge", "--train", "--out", f"{bad}/judge.safetensors")
    assert bad[:9] in refused(capsys, *draw, weights, "--out", bad)
    assert bad[:9] in refused(capsys, "data", "--scenes", 1, "--out", bad)
    for name in ("LAB7_RUNS", "LAB7_BUILD"):
        monkeypatch.setenv(name, str(place / bad))
        code, out, _ = call(capsys, "doctor")
        [disk] = [line for line in out.splitlines() if " disk " in line]
        assert code == 1 and "cannot be" in disk and "Errno" not in disk
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["iclevr", "train.json", "checkpoint.pth"])
def test_data_that_is_a_loop_of_links(capsys, course_folder, monkeypatch, name):
    monkeypatch.setenv("LAB7_DATA", str(course_folder))
    (course_folder / name).rename(course_folder / "before")
    (course_folder / name).symlink_to(name)
    assert name in refused(capsys, "train", "--preset", "smoke", *TINY)


def test_a_condition_of_all_objects_is_drawn(capsys, weights):
    code, out, _ = call(capsys, "sample", "--weights", weights, "--conditions", ", ".join(CLASSES), "--out", "all")
    assert code == 0 and out.startswith("all: 1 picture of 1 condition")


@pytest.mark.parametrize("given", [["data/test.jsn"], ["data"], ["a.json", "b.json"], ["file", "red cube"], ["~/x"]])
def test_what_is_neither_a_file_nor_a_condition(capsys, place, given):
    (place / "file").touch()
    message = refused(capsys, "sample", "--out", "out", "--conditions", *given)
    assert f"{given[0]}: neither a file that is given alone nor a condition" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--out", "out", "--conditions"], "--conditions: none are given"),
        (["ablate", "--preset", "smoke", "--arms"], "--arms: none are given"),
        (["data", "--size", f"{'9' * 5000}x64"], "--size must be WIDTHxHEIGHT"),
        (["judge", "--train", "--set", "learning_rate=999"], "only for judge_scenes, judge_epochs"),
        (["judge", "--images", ".", "--set", "judge_epochs=1"], "--set is for --train and --evaluate"),
        (["judge", "--compare", "a", "b", "--images", "."], "--images and --compare are different tasks"),
        (["judge", "--evaluate", "--train"], "--evaluate and --train are different tasks"),
        (["train", "--set=epochs=1", "epoch=2"], "unknown setting 'epoch'"),
        (["train", "--set", "epochs=1", "--set=epoch=2", "max_steps=1"], "unknown setting 'epoch'"),
    ],
)
def test_options_that_say_nothing_or_too_much(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                                   torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")])  # fmt: skip
def test_too_little_memory_is_one_line(capsys, monkeypatch, error):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(synthetic, "write_synthetic", fail)
    code, _, err = call(capsys, "data")
    assert (code, err) == (1, "lab7: there is not enough memory; choose smaller settings\n")


def test_another_error_of_the_program_is_not_hidden(monkeypatch):
    def fail(*_arguments, **_options):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(synthetic, "write_synthetic", fail)
    with pytest.raises(RuntimeError):
        main(["data"])


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream(monkeypatch, place, name):
    monkeypatch.setattr(sys, name, None)
    assert main(["data", "--scenes", "1", "--size", "16x16", "--out", "out"]) == 0
    assert (place / "out" / "train.json").exists()
    monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert not ended.value.code


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_what_may_not_be_read(capsys, place, monkeypatch, number):
    def scandir(path):
        raise OSError(number, os.strerror(number), str(path))

    (place / "data" / "train.json").write_text('{"a_0.png": ["red cube"]}')
    (place / "data" / "iclevr").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    message = refused(capsys, "train", "--preset", "smoke", "--no-score")
    assert "data/iclevr: cannot be read or written" in message


def test_json_holds_no_nan(capsys):
    print_result(True, {"a": [float("nan"), 0.1], "b": float("inf"), "c": None})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, 0.1], "b": None, "c": None}


@pytest.mark.parametrize("name", ["j/train", "j/train.json", "train.pth", "folder.safetensors", "train.safetensors"])
def test_a_judge_replaces_nothing_else(capsys, place, name):
    (place / "folder.safetensors").mkdir()
    for folder in (place, place / "j"):
        write_json(folder / "train.json", {"a_0.png": ["red cube"]})
    refused(capsys, "judge", "--train", "--out", name)
    assert all(read_json(folder / "train.json", "labels") for folder in (place, place / "j"))
    assert not (place / "train.safetensors").exists()

"""The exercises: solved from the key, wrong answers get a hint that does not give it away, notebooks hold the gaps."""

import re

import nbformat
import pytest
import torch

import lab7
from lab7 import diffusion, samplers
from lab7.cli.main import main
from lab7.exercises import check as checks
from lab7.exercises.key import EXERCISES
from lab7.judge import metrics
from lab7.utils.files import ROOT, UserError

LIMITS = {"cells": 35, "words": 1300, "lines of code": 120}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def answer(exercise, expression):
    """An answer as a student writes it, evaluated as in a notebook."""
    return eval(exercise.write(expression), {"torch": torch})


def cell_of(exercise):
    """The source of its cell in the notebook."""
    task = "".join(f"# {line}\n" for line in exercise.task.splitlines())
    return f'{task}lab7.check("{exercise.name}", {exercise.write()})'


@pytest.fixture(params=EXERCISES.values(), ids=EXERCISES)
def exercise(request):
    return request.param


def test_the_key_solves_it(exercise, capsys):
    lab7.check(exercise.name, answer(exercise, exercise.right))
    assert capsys.readouterr().out.startswith(f"{exercise.name}: right")


def test_each_wrong_answer_gets_its_own_hint(exercise):
    hints = [checks.feedback(exercise, answer(exercise, wrong)) for wrong in exercise.wrong]
    assert hints == [f"not yet: {hint}" for hint in exercise.wrong.values()]
    assert len(exercise.wrong) >= 2 and len(set(hints)) >= 2


def test_three_wrong_answers_are_refused_without_the_solution(exercise):
    is_text = exercise.right[0] == '"'
    others = (
        ['"something else"', "7"] if is_text else [f"1.37 * ({exercise.right}) + 0.11", f"-1.0 * ({exercise.right})"]
    )
    wrong = [*exercise.wrong, *others]
    assert len(wrong) >= 4
    secret = exercise.right.strip('"').replace(" ", "")
    for expression in wrong:
        said = checks.feedback(exercise, answer(exercise, expression))
        assert said.startswith("not yet: ") and len(said) > 20
        assert not re.search(rf"(?<![\w.]){re.escape(secret)}(?![\w.])", said.replace(" ", "")), said


@pytest.mark.parametrize("nothing", ["...", "None"])
def test_what_is_not_answered_yet_says_so(exercise, nothing):
    assert checks.feedback(exercise, answer(exercise, nothing)) == "not answered yet"
    assert checks.feedback(exercise, eval(nothing)) == "not answered yet"


def test_an_answer_that_fails_is_explained_and_never_raises():
    exercise = EXERCISES["03.add_noise"]
    said = [
        checks.feedback(exercise, wrong)
        for wrong in (
            lambda x_0: x_0,
            lambda x_0, eps, alpha_bar: missing,  # noqa: F821
            lambda x_0, eps, alpha_bar: "x_t",
            lambda x_0, eps, alpha_bar: object(),
            lambda x_0, eps, alpha_bar: x_0.mean(),
            lambda x_0, eps, alpha_bar: x_0 / 0,
            3,
        )
    ]
    assert all(one.startswith("not yet: ") for one in said)
    for one, part in zip(
        said, ("TypeError", "NameError", "a number", "", "has the shape ()", "NaN", "shape"), strict=True
    ):
        assert part in one


def test_an_answer_may_be_written_otherwise():
    """Another form, a plain function, numpy, other types; it may also change its inputs."""

    def add_noise(x_0, eps, alpha_bar):
        x_0.mul_(alpha_bar**0.5)
        return (x_0 + eps * (1 - alpha_bar) ** 0.5).numpy()

    assert checks.feedback(EXERCISES["03.add_noise"], add_noise).startswith("right")
    assert checks.feedback(EXERCISES["05.evaluations"], 100.0).startswith("right")
    assert checks.feedback(EXERCISES["06.verdict"], " Undecided ").startswith("right")
    assert checks.feedback(EXERCISES["07.exact"], lambda p, y: bool(((p > 0.5).float() == y).all())) == "right"


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UserError, match=r"no exercise '03.ad_noise'; did you mean '03.add_noise'\?"):
        lab7.check("03.ad_noise", ...)


def test_the_key_agrees_with_the_lab():
    """What the exercises ask for is what lab7 computes."""
    generator = torch.Generator().manual_seed(0)
    schedule, t = lab7.NoiseSchedule("cosine", 100), torch.tensor([20, 70])
    x_0, eps = torch.randn(2, 2, 3, 8, 8, generator=generator)
    alpha_bar = schedule.alpha_bar[t][:, None, None, None]

    def key(name, *inputs):
        return answer(EXERCISES[name], EXERCISES[name].right)(*inputs)

    x_t = key("03.add_noise", x_0, eps, alpha_bar)
    torch.testing.assert_close(x_t, diffusion.add_noise(schedule, x_0, t, eps))
    torch.testing.assert_close(key("03.predict_x_0", x_t, eps, alpha_bar), x_0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(key("03.alpha_bar", schedule.beta[1:]), schedule.alpha_bar[1:])
    posterior = schedule.posterior(50, 49)
    mean = key("05.posterior", x_0, eps, schedule.alpha[50], schedule.alpha_bar[50], schedule.alpha_bar[49])
    torch.testing.assert_close(mean, posterior.coef_x_0 * x_0 + posterior.coef_x_t * eps, atol=1e-3, rtol=1e-3)

    def model(x, steps, condition):
        return x * (1 + condition.sum(dim=1))[:, None, None, None]

    condition = torch.eye(24)[:2]
    guided = samplers.classifier_free_guidance(model, x_t, t, condition, 3.0)
    torch.testing.assert_close(guided, key("05.guidance", model(x_t, t, condition), model(x_t, t, 0 * condition), 3.0))
    probabilities, labels = torch.rand(24, generator=generator), torch.eye(24)[3] + torch.eye(24)[9]
    assert key("07.top_k", probabilities, labels) == metrics.top_k_hits(probabilities[None], labels[None])[0] / 2
    assert key("07.exact", labels, labels) and not key("07.exact", probabilities, labels)
    ratio = lab7.diffusion_classifier.class_error_ratio(torch.tensor([2.0]), torch.tensor([[3.0]]))
    torch.testing.assert_close(key("08.ratio", torch.tensor(2.0), torch.tensor(3.0)), ratio[0, 0])
    x, skip = torch.randn(2, 1, 2, 4, 4, generator=generator)
    assert key("02.skip", x, skip).shape == (1, 4, 4, 4)
    assert key("02.weights", 3, 5) == sum(weight.numel() for weight in torch.nn.Conv2d(3, 5, 3).parameters())
    hidden = lab7.UNet(8, 128).hidden(torch.zeros(1, 16, 128 // 4, 128 // 4))
    assert hidden[0, 0].numel() == answer(EXERCISES["02.hidden"], EXERCISES["02.hidden"].right)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_holds_its_exercises_as_they_stand_in_the_source(path):
    cells = nbformat.read(path, as_version=4).cells
    held = [cell for cell in cells if "lab7.check(" in cell.source]
    wanted = [one for one in EXERCISES.values() if one.name.startswith(f"{path.stem[:2]}.")]
    assert 3 <= len(wanted) <= 5
    assert sorted(one.source for one in held) == sorted(cell_of(one) for one in wanted)
    for cell in held:
        name = re.search(r'check\("([^"]+)"', cell.source)[1]
        assert cell.cell_type == "code" and not cell.metadata.get("tags")  # nbval compares what it prints
        if cell.execution_count:
            assert "".join(output.text for output in cell.outputs) == f"{name}: not answered yet\n"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_its_limits(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    lines = sum(len(source.splitlines()) for source in code)  # blank ones and comments included
    assert len(cells) <= LIMITS["cells"] and words <= LIMITS["words"] and lines <= LIMITS["lines of code"]


def test_every_exercise_fits_a_line():
    assert all(len(line) <= 120 for one in EXERCISES.values() for line in cell_of(one).splitlines())


def test_the_command_lists_them_and_prints_the_key_on_demand_only(capsys):
    assert main(["exercises"]) == 0
    listed = capsys.readouterr().out
    assert main(["exercises", "--solutions"]) == 0
    key = capsys.readouterr().out
    for one in EXERCISES.values():
        assert f"{one.name}: {one.task}" in listed and f"{one.name}: {one.task}" in key
        assert f"right: {one.write(one.right)}" in key and all(hint in key for hint in one.wrong.values())
        if one.inputs:
            assert one.right not in listed


@pytest.mark.parametrize("name", [5, None, ["x"], {}, torch.ones(2), "", 1e9])
def test_what_is_no_name_of_an_exercise(name):
    with pytest.raises(UserError, match="no exercise .*; `lab7 exercises` lists them") as error:
        lab7.check(name, ...)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "said"), [("to_sparse", "right"), ("to_mkldnn", ""), ("to_complex", "complex")])
def test_an_answer_of_an_odd_tensor(change, said):
    def to_complex(x):
        return torch.complex(x, torch.ones_like(x))

    odd = to_complex if change == "to_complex" else getattr(torch.Tensor, change)
    key = answer(EXERCISES["03.add_noise"], EXERCISES["03.add_noise"].right)
    assert said in checks.feedback(EXERCISES["03.add_noise"], lambda *inputs: odd(key(*inputs).float()))


@pytest.mark.parametrize("answer", [torch.ones(2, device="meta"), torch.nested.nested_tensor([torch.ones(2)]), 3 + 1j])
def test_an_answer_without_plain_numbers_is_wrong(exercise, answer):
    assert checks.feedback(exercise, lambda *inputs: answer).startswith("not yet")
    assert checks.feedback(exercise, answer).startswith("not yet")

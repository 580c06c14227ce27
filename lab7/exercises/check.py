"""`lab7.check`: whether an answer to an exercise is right, or a hint that does not give it away."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, rand, randn

from lab7.exercises.key import EXERCISES, Exercise
from lab7.utils.files import UserError
from lab7.utils.settings import suggest

TRIALS = 8  # random inputs that an answer must get right
_INPUTS: dict[str, Callable[[Generator], Tensor]] = {  # by name; all others are like pictures
    **dict.fromkeys(("alpha", "alpha_bar", "alpha_bar_before"), lambda g: 0.1 + 0.8 * rand(2, 1, 1, 1, generator=g)),
    **dict.fromkeys(("d", "p", "std"), lambda g: 0.1 + 0.8 * rand((), generator=g)),
    **dict.fromkeys(("n", "c_in", "c_out"), lambda g: torch.randint(2, 20, (), generator=g)),
    **dict.fromkeys(("c", "t", "query", "key"), lambda g: 2 * randn(2, 4, generator=g)),
    **dict.fromkeys(("whole", "without"), lambda g: 0.1 + rand(5, generator=g)),
    "beta": lambda g: 0.5 * rand(6, generator=g),
    "w": lambda g: 1 + 3 * rand((), generator=g),
    "gradient": lambda g: randn(5, generator=g) * (3 if g.initial_seed() % 2 else 0.1),  # long and short ones
    "labels": lambda g: (torch.arange(24) % 9 == 0).float() * (torch.arange(24) <= 9 * (g.initial_seed() % 3)),
    "probabilities": lambda g: (
        0.55 * rand(24, generator=g) ** 2 + (0.2 + 0.5 * rand((), generator=g)) * _INPUTS["labels"](g)
    ),
}


def check(name: str, answer: Any = ...) -> None:
    """Print one line: not answered yet, right, or what is wrong. Never raises for a wrong answer.

    The answer is a function of tensors, a number or one of several words, as the task says; `...` or None: no answer.
    Raises UserError for a name that no exercise has.
    """
    if name not in EXERCISES:
        raise UserError(f"no exercise '{name}'{suggest(name, EXERCISES)}; `lab7 exercises` lists them")
    print(f"{name}: {feedback(EXERCISES[name], answer)}")


def feedback(exercise: Exercise, answer: Any) -> str:
    """What `check` says of an answer."""
    try:
        got = _values(exercise, answer)
    except Exception as error:  # of any kind: it comes from the student's own line
        return f"not yet: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if any(value is None for value in got):
        return "not answered yet"
    wanted, *mistakes = (
        _values(exercise, eval(exercise.write(source), {"torch": torch}))
        for source in (exercise.right, *exercise.wrong)
    )
    if all(map(_same, got, wanted)):
        return f"right: {exercise.why}" if exercise.why else "right"
    for mistake, hint in zip(mistakes, exercise.wrong.values(), strict=True):
        if all(map(_same, got, mistake)):
            return f"not yet: {hint}"
    return f"not yet: {_difference(got, wanted) or exercise.hint}"


def _values(exercise: Exercise, answer: Any) -> list[Any]:
    """The answer's value for each set of inputs: a text, a float64 tensor, or None where there is none yet."""
    values = []
    for seed in range(TRIALS if exercise.inputs else 1):
        generator = torch.Generator().manual_seed(seed)
        inputs = [_INPUTS.get(name, _picture)(generator) for name in exercise.inputs.split(", ") if name]
        value = answer(*inputs) if inputs and callable(answer) else answer
        value = None if value is ... else value
        values.append(value if value is None or isinstance(value, str) else torch.as_tensor(value).double())
    return values


def _picture(generator: Generator) -> Tensor:
    return randn(2, 4, 2, 4, generator=generator)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return str(one).strip().lower() == str(other).lower()
    return one.shape == other.shape and torch.allclose(one, other, rtol=2e-3, atol=1e-5)


def _difference(got: list[Any], wanted: list[Any]) -> str:
    """What is wrong with the answer as a whole; "" if there is no more to say than that its values are wrong."""
    if isinstance(wanted[0], str):
        return "answer with one of the texts of the task"
    if isinstance(got[0], str):
        return "a number is wanted, not a text"
    if got[0].shape != wanted[0].shape:
        return f"the result has the shape {tuple(got[0].shape)}, but {tuple(wanted[0].shape)} is wanted"
    if not all(value.isfinite().all() for value in got):
        return "the result holds NaN or infinity"
    return "the sign is wrong" if all(map(_same, [-value for value in got], wanted)) else ""

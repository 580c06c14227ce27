"""`lab7.check`: whether an answer to an exercise is right, or a hint that does not give it away."""

from typing import Any

import torch

from lab7.exercises.key import EXERCISES, INPUTS, Exercise
from lab7.utils.files import UserError
from lab7.utils.settings import suggest

TRIALS = 8  # random inputs that an answer must get right


def check(name: str, answer: Any = ...) -> None:
    """Print one line: not answered yet, right, or what is wrong. Never raises for a wrong answer.

    The answer is a function of tensors, a number or one of several words, as the task says; `...` or None: no answer.
    Raises UserError for a name that no exercise has.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        shown = " ".join(repr(name).split())[:50]
        raise UserError(f"no exercise {shown}{suggest(shown, EXERCISES)}; `lab7 exercises` lists them")
    print(f"{name}: {feedback(EXERCISES[name], answer)}")


def feedback(exercise: Exercise, answer: Any) -> str:
    """What `check` says of an answer."""
    try:
        got = _values(exercise, answer)
        if any(value is None for value in got):
            return "not answered yet"
        wanted = _values(exercise, eval(exercise.write(exercise.right), {"torch": torch}))
        if all(map(_same, got, wanted)):
            return f"right: {exercise.why}" if exercise.why else "right"
        for mistake, hint in exercise.wrong.items():
            if all(map(_same, got, _values(exercise, eval(exercise.write(mistake), {"torch": torch})))):
                return f"not yet: {hint}"
        return f"not yet: {_difference(got, wanted) or exercise.hint}"
    except Exception as error:  # of any kind: it comes from the student's own line
        return f"not yet: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _values(exercise: Exercise, answer: Any) -> list[Any]:
    """The answer's value for each set of inputs: a text, a float64 tensor, or None where there is none yet."""
    values = []
    names = [name for name in exercise.inputs.split(", ") if name]
    for seed in range(TRIALS if names else 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inputs = [eval(INPUTS.get(name, INPUTS["picture"]), {"torch": torch, "seed": seed}) for name in names]
        value = answer(*inputs) if names and callable(answer) else answer
        if value is not ... and value is not None and not isinstance(value, str):
            value = torch.as_tensor(value).cpu().to_dense()  # an answer without data, on "meta", fails here
            value = value if value.is_complex() else value.double()
        values.append(None if value is ... else value)
    return values


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return str(one).strip().lower() == str(other).lower()
    return one.dtype == other.dtype and one.shape == other.shape and torch.allclose(one, other, rtol=2e-3, atol=1e-5)


def _difference(got: list[Any], wanted: list[Any]) -> str:
    """What is wrong with the answer as a whole; "" if there is no more to say than that its values are wrong."""
    if isinstance(wanted[0], str):
        return "answer with one of the texts of the task"
    if isinstance(got[0], str):
        return "a number is wanted, not a text"
    if got[0].is_complex():
        return "the result is complex, but real numbers are wanted"
    if got[0].shape != wanted[0].shape:
        return f"the result has the shape {tuple(got[0].shape)}, but {tuple(wanted[0].shape)} is wanted"
    if not all(value.isfinite().all() for value in got):
        return "the result holds NaN or infinity"
    return "the sign is wrong" if all(map(_same, [-value for value in got], wanted)) else ""

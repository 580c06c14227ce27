"""An exercise; all of them by name, and how their inputs are drawn at random, read from exercises.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exercise:
    """One gap in a notebook, with its solution and the hints for typical mistakes."""

    name: str  # "NN.what", of notebook NN
    task: str
    right: str  # Python expression of the inputs
    wrong: dict[str, str]  # typical mistakes, likewise, and the hint that each gets
    inputs: str = ""  # of the function that is asked for; "": a number or a text is asked for
    why: str = ""  # said of a right answer
    hint: str = "check each term against the formula in this notebook"  # for any other wrong answer

    def write(self, expression: str = "...") -> str:
        """An answer as a student writes it: the expression, as a function of the inputs if there are any."""
        return f"lambda {self.inputs}: {expression}" if self.inputs else expression


_TEXT = tomllib.loads(Path(__file__).with_name("exercises.toml").read_text(encoding="utf-8"))
INPUTS = {name: expression for names, expression in _TEXT.pop("inputs").items() for name in names.split()}
EXERCISES = {name: Exercise(name, **entry) for name, entry in _TEXT.items()}

"""`lab7 exercises`: the exercises of the notebooks, and the key for the teacher."""

from dataclasses import asdict

from lab7.cli.options import Flag, Json, print_result


def exercises(solutions: Flag = False, json: Json = False) -> int:
    """List the exercises of the notebooks; with --solutions the key, with typical mistakes and the hint of each.

    Example: lab7 exercises --solutions

    Args:
        solutions: The key, for the teacher.
    """
    from lab7.exercises.key import EXERCISES

    lines = []
    for one in EXERCISES.values():
        lines += [f"{one.name}: {one.task}"]
        if solutions:
            lines += [f"    right: {one.write(one.right)}" + (f"\n           {one.why}" if one.why else "")]
            lines += [f"    wrong: {one.write(mistake)}\n           {hint}" for mistake, hint in one.wrong.items()]
    shown = {name: asdict(one) if solutions else one.task for name, one in EXERCISES.items()}
    return print_result(json, shown, *lines)

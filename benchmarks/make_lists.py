"""Write data/test.json, data/new_test.json and data/objects.json: `python benchmarks/make_lists.py`.

The lists are the project's own; only their structure is the course's: how many conditions of one, two and
three objects, and how many with a repeated colour. Classes are dealt out evenly, no condition comes twice.
The dealing is improved by swaps until every condition is of the kind it should be. Same bytes every time.
"""

from __future__ import annotations

import json
import random

from lab7.utils.files import shipped_dir, write_text
from lab7.vocabulary import CLASSES, class_index

# kind -> how many: (number of objects, of which so many share one colour)
TEST = {(1, 1): 6, (2, 1): 11, (2, 2): 1, (3, 1): 12, (3, 2): 2}
NEW_TEST = {(2, 1): 2, (2, 2): 10, (3, 1): 2, (3, 2): 14, (3, 3): 4}

Condition = tuple[str, ...]


def kind(condition: Condition) -> tuple[int, int]:
    """(number of objects, how many share the commonest colour); (0, 0) if a label is repeated."""
    colours = [name.split()[0] for name in condition]
    if len(set(condition)) < len(condition):
        return 0, 0
    return len(condition), max(colours.count(colour) for colour in colours)


def make_list(kinds: dict[tuple[int, int], int], seed: int, taken: set[frozenset[str]]) -> list[Condition]:
    """Conditions of these kinds, none of them in `taken`, with every class about as often as any other."""
    rng = random.Random(seed)
    wanted = [one for one, number in kinds.items() for _ in range(number)]
    slots = [index for index, (objects, _) in enumerate(wanted) for _ in range(objects)]
    whole, rest = divmod(len(slots), len(CLASSES))
    deal = list(CLASSES) * whole + rng.sample(CLASSES, rest)
    rng.shuffle(deal)

    def dealt() -> list[Condition]:
        hands: list[list[str]] = [[] for _ in wanted]
        for slot, name in zip(slots, deal, strict=True):
            hands[slot].append(name)
        return [tuple(sorted(hand, key=class_index)) for hand in hands]

    def faults() -> int:
        conditions = dealt()
        wrong = sum(kind(condition) != one for condition, one in zip(conditions, wanted, strict=True))
        fresh = {frozenset(condition) for condition in conditions} - taken
        return wrong + len(conditions) - len(fresh)

    left = faults()
    while left:
        a, b = rng.randrange(len(deal)), rng.randrange(len(deal))
        deal[a], deal[b] = deal[b], deal[a]
        now = faults()
        if now <= left:
            left = now
        else:
            deal[a], deal[b] = deal[b], deal[a]
    conditions = dealt()
    rng.shuffle(conditions)
    return conditions


def make_lists() -> dict[str, list[Condition]]:
    """Both lists; no condition is in both."""
    test = make_list(TEST, seed=7, taken=set())
    return {"test": test, "new_test": make_list(NEW_TEST, seed=7, taken={frozenset(names) for names in test})}


def as_text(conditions: list[Condition]) -> str:
    """JSON with one condition a line."""
    return "[\n" + ",\n".join(" " + json.dumps(list(names)) for names in conditions) + "\n]\n"


if __name__ == "__main__":
    for list_name, list_conditions in make_lists().items():
        write_text(shipped_dir() / f"{list_name}.json", as_text(list_conditions))
    objects = {name: index for index, name in enumerate(CLASSES)}
    write_text(shipped_dir() / "objects.json", json.dumps(objects, indent=1) + "\n")

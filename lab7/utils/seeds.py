"""One seed out of several numbers."""

import numpy as np


def mix_seed(*numbers: int) -> int:
    """A seed in 0..2^63 - 1 that depends on all the numbers and their order (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))

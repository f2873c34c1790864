"""StackedMNIST, 1,000 modes to find: R3GAN's objective and the tutorial's, with the same small networks and budget.

Paper: Huang et al. 2024, section 2 (relativistic pairing with R1 and R2 against the classic loss); Metz et al. 2017 and Lin et
al. 2018 (the data set and the mode count). Their networks and budgets are larger.
Command: `python -m experiments.train stacked-r3gan --data-dir DIR`, then `python -m experiments.evaluate runs/stacked-r3gan
--metrics modes26k`; the same with `stacked-tutorial`. Numbers: docs/families.md.
"""

from experiments.configs import objective

SAME = {
    **{"data": "stacked:mnist", "conditional": "no", "kimg": 100.0, "tick_kimg": 5.0, "snapshot_kimg": 20.0},
    **{"augment": (), "lr": 1e-3},
}

CONFIGS = {
    "stacked-tutorial": objective.Config(loss="non_saturating", penalty=(), **SAME),
    "stacked-r3gan": objective.Config(loss="relativistic", penalty=("r1", "r2"), **SAME),
}
"""The pair of configs: only the loss and the penalties differ."""

"""The configs by name. Each is a frozen dataclass; any field can be given on the command line."""

from experiments.configs import families, growing, objective, paired, residual, stacked, tutorial, unpaired

CONFIGS = {
    "digits": residual.Config(),
    "mnist": residual.Config(data="mnist", kimg=300.0, tick_kimg=5.0, snapshot_kimg=20.0),
    "cifar10": residual.CIFAR10,
    "objective": objective.Config(),
    "digits-tutorial": tutorial.Config(),
    **families.configs(),
    **paired.configs(),
    **unpaired.configs(),
    **growing.configs(),
    **stacked.CONFIGS,
    "mnist-tutorial": tutorial.Config(data="mnist", tick_kimg=5.0, snapshot_kimg=20.0),
}

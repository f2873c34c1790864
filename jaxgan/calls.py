"""How many steps go into one compiled call: fewer dispatches, where a step is so short that they count.

The same steps in calls of another length are another program, which rounds otherwise: equal to the last bits, not to the bit.
A CPU takes one step a call: nothing is to be gained there, and a convolution inside a loop runs some fifty times slower.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.method import Recipe
from jaxgan.state import TrainState
from jaxgan.step import Due, due, period
from jaxgan.typing import Tree

SHORT = 0.005
"""Seconds. The host sends a step in some tenths of a millisecond, while the device works on the one before: where steps are
longer than this, nothing is gained by several in a call."""
CALL = 0.02
"""Seconds that a call should take at least, where steps are short."""
MOST = 64
"""Steps a call that `measured` tries at most, so that a signal is obeyed soon."""
GAIN = 0.97
"""More steps a call are taken if they take less than this share of the time of single ones."""


def check(n: int, recipe: Recipe, streamed: bool, tick: int, stages: int = 1) -> None:
    """Raise UserError unless n steps can go into one call; 0 leaves the choice to `measured`.

    Args:
      n: steps a call. Each window of n steps with other due terms is a program of its own, so n and the period must divide.
      recipe: what is trained.
      streamed: the images are sent to the device batch by batch: such a call has one step.
      tick: steps from one look at the numbers to the next, at which a call ends.
      stages: of networks that grow; these take one step a call.
    """
    every = period(recipe)
    if n < 0:
        raise UserError(f"--steps-per-call {n}: give 1 or more, or 0 to have it measured")
    if n > 1 and streamed:
        raise UserError(f"--steps-per-call {n}: images are streamed, one batch per call; leave it out, or give --resident yes")
    if n > 1 and n % every and every % n:
        below, above = next(k for k in range(n, 0, -1) if every % k == 0 or k % every == 0), (n // every + 1) * every
        raise UserError(f"--steps-per-call {n}: this recipe's lazy terms repeat every {every} steps; give {below} or {above}")
    if n > 1 and stages > 1:
        raise UserError(f"--steps-per-call {n}: growing networks take one step per call; leave it out")
    if n > tick:
        raise UserError(f"--steps-per-call {n}: there are {tick} steps from tick to tick; give fewer, or a larger --tick-kimg")


def length(at: int, n: int, end: int, every: int) -> int:
    """Steps of the call that begins at step `at`: n, or 1 where n would go beyond `end` or be a program of its own.

    Args:
      at: steps done.
      n: steps a call, a divisor or a multiple of `every`, the recipe's period.
      end: step at which the host wants to look.
    """
    return n if at % math.gcd(n, every) == 0 and at + n <= end else 1


def dues(recipe: Recipe, at: int, n: int) -> tuple[Due, ...]:
    """Which terms count in each of the n steps from `at` on: what makes a call's program."""
    return tuple(due(recipe, k) for k in range(at, at + n))


def repeats(sequence: tuple[Any, ...]) -> tuple[tuple[Any, ...], int]:
    """The shortest sequence that, so many times after itself, is the given one."""
    n = len(sequence)
    p = next(p for p in range(1, n + 1) if sequence[:p] * (n // p) == sequence)
    return sequence[:p], n // p


def looped(one: Callable[..., Any], carry: Tree, sequence: tuple[Any, ...]) -> Tree:
    """`carry = one(due, carry)` for each due of a sequence, what repeats as a loop: a program about as large as one period."""
    once, times = repeats(sequence)
    if times > 1:
        return jax.lax.fori_loop(0, times, lambda _, carry: looped(one, carry, once), carry)
    if len(sequence) == 1:
        return one(sequence[0], carry)
    alike = next(i for i, each in enumerate(sequence) if each != sequence[0])
    return looped(one, looped(one, carry, sequence[:alike]), sequence[alike:])


@jax.jit
def copied(tree: Tree) -> Tree:
    """One program: array by array, each shape is compiled, which took a StyleGAN2 8 s on an H100's host."""
    return jax.tree.map(jnp.copy, tree)


def seconds_a_step(
    run: Callable[..., Any], held: Tree, state: TrainState, meter: Tree, recipe: Recipe, n: int, steps: int
) -> float:
    """Mean time of a step when calls have n of them, on a copy of the state: the training is not touched. Compiles first.

    Args:
      run: (state, meter, held, dues) -> state, meter, token; donates its first two arguments.
      held: what the steps' images are taken from, on the devices.
      state, meter: on the devices.
      recipe: what is trained.
      n, steps: steps a call, and in all; n divides steps.
    """

    def go(state, meter, steps):
        for k in range(0, steps, n):
            state, meter, token = run(state, meter, held, dues(recipe, k, n))
        jax.block_until_ready(token)
        return state, meter

    warm = go(*copied((state, meter)), math.lcm(period(recipe), n))
    start = time.perf_counter()
    go(*warm, steps)
    return (time.perf_counter() - start) / steps


def trained(
    run: Callable[..., Any],
    at: Callable[[int], Tree],
    carry: tuple[TrainState, Tree],
    recipe: Recipe,
    steps: tuple[int, int],
    together: int,
) -> tuple[tuple[TrainState, Tree], float, float]:
    """Make the steps [first, end) as a run does, the host some calls ahead of the devices.

    Args:
      run: (state, meter, held, dues) -> state, meter, token.
      at: step -> what its images are taken from, on the devices.
      carry: state and meter, on the devices; donated.
      recipe: what is trained.
      steps: first and end.
      together: steps a call.
    Returns:
      State and meter after them; the seconds that they took, and how many of these the host waited for images.
    """
    k, end = steps
    sent, waited, start = deque(), 0.0, time.perf_counter()
    while k < end:
        n, began = length(k, together, end, period(recipe)), time.perf_counter()
        held = at(k)
        waited += time.perf_counter() - began
        *carry, token = run(*carry, held, dues(recipe, k, n))
        sent.append(token)
        if len(sent) > max(8 // together, 1):
            jax.block_until_ready(sent.popleft())
        k += n
    jax.block_until_ready(carry)
    return tuple(carry), time.perf_counter() - start, waited


def fastest(seconds: Callable[[int, int], float], every: int, most: int) -> int:
    """The steps a call that train fastest: 1, or so many that a call of short steps is long enough to hide its dispatch.

    Args:
      seconds: (steps a call, steps in all) -> time of a step.
      every: the recipe's period; more than one step a call are a multiple of it.
      most: steps a call that there is room for between two ticks.
    """
    alone = seconds(1, every)
    if alone > SHORT:
        return 1
    alone = seconds(1, 4 * math.lcm(every, 8))
    pieces = math.ceil(most / min(CALL / alone, MOST))  # as few calls as there may be, of equal length: little is left over
    n = most // pieces // every * every
    return n if n > 1 and seconds(n, 4 * n) < GAIN * alone else 1

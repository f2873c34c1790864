"""Optimisers whose hyper-parameters may be schedules of kimg: optax transformations with `update(..., kimg=)`.

Wherever a number is asked for, a function kimg [] -> value [] (see `schedules`) will do. Two time scales (TTUR, Heusel
et al. 2017) need nothing of their own: a recipe has one optimiser a player, each with its learning rate.
"""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxgan.errors import UserError
from jaxgan.typing import ScalarOrSchedule

Optimizer: TypeAlias = optax.GradientTransformationExtraArgs


def scheduled(make: Callable[..., optax.GradientTransformation], **hyper: Any) -> Optimizer:
    """An optax optimiser that is rebuilt at every update with the hyper-parameters of the present kimg.

    update(g, state, params, kimg=k) = make(**{name: value or value(k)}).update(g, state, params)

    The state is `make`'s own, so it needs no field for the hyper-parameters, and numbers reach `make` as they are: with
    no schedule among them the result is bit for bit that of `make(**hyper)`.

    Args:
      make: the optax function, such as `optax.adam`. An option that is itself a function (a mask) must be bound before,
        by functools.partial: in `hyper` every callable is a schedule.
      **hyper: its arguments by name; each a value or a Schedule.
    Returns:
      A GradientTransformationExtraArgs; `update` takes `kimg=` [] (needed only when there is a schedule).
    Raises:
      UserError: a negative number, or b1 or b2 of 1 or more. ValueError: at the update, a schedule without `kimg=`.
    Source: optax's `inject_hyperparams` does this by a step count kept in its state; ours is a function of kimg alone.
    """
    for name, value in hyper.items():
        if isinstance(value, Real) and (value < 0 or (name in ("b1", "b2") and value >= 1)):
            raise UserError(f"{name} is {value}; it must be at least 0, and b1 and b2 below 1")
    now = lambda kimg: {name: value(kimg) if callable(value) else value for name, value in hyper.items()}
    moving = sorted(name for name, value in hyper.items() if callable(value))

    def init(params):
        return make(**now(jnp.zeros(()))).init(params)

    def update(updates, state, params=None, *, kimg=None, **extra):
        if moving and kimg is None:
            raise ValueError(f"kimg: {', '.join(moving)} follow a schedule; call update(..., kimg=thousands of images)")
        tx = optax.with_extra_args_support(make(**now(kimg)))
        return tx.update(updates, state, params, kimg=kimg, **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def adam(
    lr: ScalarOrSchedule, b1: ScalarOrSchedule = 0.9, b2: ScalarOrSchedule = 0.999, eps: ScalarOrSchedule = 1e-8
) -> Optimizer:
    """Adam: p <- p - lr m^ / (sqrt(v^) + eps), m^ = m / (1 - b1^t), v^ = v / (1 - b2^t).

    Args:
      lr: learning rate, > 0; a number or a Schedule, as the others.
      b1: decay of the gradient's mean, in [0, 1).
      b2: decay of the squared gradient's mean, in [0, 1).
      eps: added to sqrt(v^).
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`; with numbers it is `optax.adam` bit for bit.
    Source: Kingma and Ba 2015, algorithm 1. Where b1 or b2 move, the bias correction uses their present value, as
      PyTorch's does (R3GAN moves b2).
    """
    return scheduled(optax.adam, learning_rate=lr, b1=b1, b2=b2, eps=eps)


def adam_keras(
    lr: ScalarOrSchedule = 1e-3, b1: ScalarOrSchedule = 0.9, b2: ScalarOrSchedule = 0.999, eps: ScalarOrSchedule = 1e-7
) -> Optimizer:
    """Adam as Keras computes it: p <- p - alpha m / (sqrt(v) + eps), alpha = lr sqrt(1 - b2^t) / (1 - b1^t).

    The epsilon meets sqrt(v) before its bias correction, so in the first steps it counts as eps / sqrt(1 - b2^t) would
    in `adam`: 32 times more at the first step with b2 = 0.999.

    Args:
      lr: learning rate, > 0; a number or a Schedule, as the others.
      b1: decay of the gradient's mean, in [0, 1).
      b2: decay of the squared gradient's mean, in [0, 1).
      eps: added to sqrt(v); Keras's default is ten times PyTorch's.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`.
    Source: Kingma and Ba 2015, end of section 2 ("epsilon hat"); keras.optimizers.Adam, Keras 3.
    """
    return scheduled(_adam_keras, lr=lr, b1=b1, b2=b2, eps=eps)


class AdamState(NamedTuple):
    """Steps taken int32 [], and the running means of the gradient and of its square (trees like the parameters)."""

    count: jax.Array
    mu: object
    nu: object


def _adam_keras(lr, b1, b2, eps):
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates, state, params=None):
        count = optax.safe_increment(state.count)
        t = count.astype(jnp.float32)
        alpha = lr * jnp.sqrt(1 - b2**t) / (1 - b1**t)
        mu = jax.tree.map(lambda m, g: m + (g - m) * (1 - b1), state.mu, updates)
        nu = jax.tree.map(lambda v, g: v + (jnp.square(g) - v) * (1 - b2), state.nu, updates)
        steps = jax.tree.map(lambda m, v: (-alpha * m / (jnp.sqrt(v) + eps)).astype(m.dtype), mu, nu)
        return steps, AdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def adamw(
    lr: ScalarOrSchedule,
    *,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
) -> Optimizer:
    """AdamW: `adam` plus a decay that is not divided by sqrt(v^): p <- p - lr (m^ / (sqrt(v^) + eps) + weight_decay p).

    Args:
      lr: learning rate, > 0; a number or a Schedule, as the others.
      b1: decay of the gradient's mean, in [0, 1).
      b2: decay of the squared gradient's mean, in [0, 1).
      eps: added to sqrt(v^).
      weight_decay: per unit of learning rate, of every parameter (biases too).
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`; `params` must be given to `update`.
    Source: Loshchilov and Hutter 2019, algorithm 2; `optax.adamw`.
    """
    return scheduled(optax.adamw, learning_rate=lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)


def adafactor(
    lr: ScalarOrSchedule,
    *,
    decay_rate: ScalarOrSchedule = 0.8,
    clipping_threshold: ScalarOrSchedule = 1.0,
    relative: bool = False,
    smallest: int = 128,
) -> Optimizer:
    """Adafactor: Adam without the mean, the squares of a matrix kept as a row and a column.

    p <- p - lr g / sqrt(v) with v_ij = r_i c_j / mean(r), clipped to a root mean square of `clipping_threshold`.

    Args:
      lr: learning rate, > 0; a number or a Schedule.
      decay_rate: exponent of the second moment's decay, 1 - t^-decay_rate; a number or a Schedule.
      clipping_threshold: largest root mean square of an array's step, > 0; a number or a Schedule.
      relative: multiply the step by the root mean square of the parameters (the paper's relative step size); off here,
        because an output layer that starts at zero would then hardly move.
      smallest: arrays whose two largest axes are both at least this long are factored.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`; `params` must be given to `update`.
    Source: Shazeer and Stern 2018, algorithm 4, without momentum; `optax.adafactor`.
    """
    make = partial(optax.adafactor, multiply_by_parameter_scale=relative, min_dim_size_to_factor=smallest)
    return scheduled(make, learning_rate=lr, decay_rate=decay_rate, clipping_threshold=clipping_threshold)


def optimistic_adam(
    lr: ScalarOrSchedule,
    *,
    optimism: ScalarOrSchedule = 1.0,
    b1: ScalarOrSchedule = 0.5,
    b2: ScalarOrSchedule = 0.9,
    eps: ScalarOrSchedule = 1e-8,
) -> Optimizer:
    """Optimistic Adam: p <- p - lr (r_t + optimism (r_t - r_{t-1})), r = m^ / (sqrt(v^) + eps).

    The extra term anticipates the other player's move, which damps the cycling of a two-player game.

    Args:
      lr: learning rate, > 0; a number or a Schedule, as the others.
      optimism: weight of the change; 1 in the paper, 0 is `adam`.
      b1: decay of the gradient's mean, in [0, 1).
      b2: decay of the squared gradient's mean, in [0, 1).
      eps: added to sqrt(v^).
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`. At the first step r_{t-1} = r_t.
    Source: Daskalakis et al. 2018, algorithm 1, with its betas; `optax.optimistic_adam_v2` without Nesterov momentum.
    """
    make = partial(optax.optimistic_adam_v2, alpha=1.0, nesterov=False)
    return scheduled(make, learning_rate=lr, beta=optimism, b1=b1, b2=b2, eps=eps)


def rmsprop(lr: ScalarOrSchedule, *, decay: ScalarOrSchedule = 0.99, eps: ScalarOrSchedule = 1e-8) -> Optimizer:
    """RMSprop: p <- p - lr g / (sqrt(v) + eps), v <- decay v + (1 - decay) g^2, v from 0 and not corrected for it.

    Args:
      lr: learning rate, > 0; a number or a Schedule, as the others.
      decay: of the squared gradient's mean, in [0, 1).
      eps: added to sqrt(v).
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`.
    Source: Tieleman and Hinton 2012, lecture 6.5; defaults and place of eps as PyTorch's, which the first WGAN used.
    """
    return scheduled(partial(optax.rmsprop, eps_in_sqrt=False), learning_rate=lr, decay=decay, eps=eps)


def lion(
    lr: ScalarOrSchedule, *, b1: ScalarOrSchedule = 0.9, b2: ScalarOrSchedule = 0.99, weight_decay: ScalarOrSchedule = 0.0
) -> Optimizer:
    """Lion: p <- p - lr (sign(b1 m + (1 - b1) g) + weight_decay p), then m <- b2 m + (1 - b2) g.

    Args:
      lr: learning rate, > 0, three to ten times smaller than Adam's; a number or a Schedule, as the others.
      b1: weight of the mean in the step, in [0, 1).
      b2: decay of the mean, in [0, 1).
      weight_decay: per unit of learning rate.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`; `params` must be given to `update`.
    Source: Chen et al. 2023, algorithm 2; `optax.lion`.
    """
    return scheduled(optax.lion, learning_rate=lr, b1=b1, b2=b2, weight_decay=weight_decay)


def muon_or_adam(
    lr: ScalarOrSchedule,
    *,
    adam_lr: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.95,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
) -> Optimizer:
    """Muon for kernels, Adam for the rest: the kernel's momentum [in, out] is replaced by the nearest matrix with
    orthogonal rows or columns, times sqrt(max(1, out / in)).

    Args:
      lr: Muon's learning rate, > 0 (usually 0.001 to 0.02); a number or a Schedule, as the others.
      adam_lr: Adam's learning rate for arrays of fewer than two axes.
      beta: Muon's momentum, in [0, 1), Nesterov's.
      b1, b2: Adam's decays.
      eps: added to the denominators of both.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`. Kernels are the arrays of two or more axes; the last
      is the output, the others together the input.
    Source: Jordan et al. 2024 (Muon); `optax.contrib.muon`, whose Adam uses Nesterov momentum too. Jordan advises Adam
      for the first and the last layer: here they are kernels like the others.
    """
    make = partial(optax.contrib.muon, muon_weight_dimension_numbers=_kernels_for_muon)
    rates = {"learning_rate": lr, "adam_learning_rate": adam_lr}
    return scheduled(make, **rates, beta=beta, adam_b1=b1, adam_b2=b2, eps=eps)


def _kernels_for_muon(params):
    def axes(p):
        return optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), (p.ndim - 1,)) if p.ndim >= 2 else None

    return jax.tree.map(axes, params)


def lazy(
    lr: ScalarOrSchedule, b1: ScalarOrSchedule, b2: ScalarOrSchedule, *, every: float
) -> tuple[ScalarOrSchedule, ScalarOrSchedule, ScalarOrSchedule]:
    """Learning rate and betas for a player whose regulariser is due every k steps: lr c, b1^c, b2^c, c = k / (k + 1).

    StyleGAN2 gives the lazy regulariser a separate optimiser step, so there are (k + 1) / k times as many; this preserves
    the decay and the distance over k steps. If the due regulariser is only added to the loss of an ordinary step
    (multiplied by k), there is no extra step and nothing to correct.

    Args:
      lr: learning rate; a number or a Schedule, as b1 and b2.
      b1: decay of the gradient's mean, in [0, 1).
      b2: decay of the squared gradient's mean, in [0, 1).
      every: k, >= 1.
    Returns:
      (lr, b1, b2) corrected, numbers where they were numbers and Schedules where they were Schedules.
    Raises:
      UserError: an interval below 1.
    Source: Karras et al. 2020 (StyleGAN2), appendix B (lazy regularisation).
    """
    if every < 1:
        raise UserError(f"every: the lazy interval is {every}; give 1 or more steps")
    c = every / (every + 1)
    apply = lambda f, value: (lambda kimg: f(value(kimg))) if callable(value) else f(value)
    return apply(lambda x: x * c, lr), apply(lambda b: b**c, b1), apply(lambda b: b**c, b2)


def clip_gradient(tx: optax.GradientTransformation, norm: ScalarOrSchedule) -> Optimizer:
    """`tx` on gradients scaled down to a global norm of at most `norm`: g <- g min(1, norm / ||g||).

    Args:
      tx: any of the optimisers above, or of optax.
      norm: maximum norm over all parameters together, > 0; a number or a Schedule.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`.
    Source: Pascanu et al. 2013, algorithm 1; `optax.clip_by_global_norm`.
    """
    return optax.chain(scheduled(optax.clip_by_global_norm, max_norm=norm), optax.with_extra_args_support(tx))


def frozen(tx: optax.GradientTransformation, still: Callable[[str], bool]) -> Optimizer:
    """`tx` on some of the parameters, with the others frozen.

    Args:
      tx: any of the optimisers above, or of optax. It sees only the trained parameters (so does `clip_gradient`'s norm).
      still: path ('Block_0/Conv_0/kernel') -> whether that parameter is frozen.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`. Frozen parameters have no optimiser state, and under
      jit no gradient is computed for them.
    Source: Mo et al. 2020 (FreezeD), who fine-tune D without its first layers; `optax.partition`.
    """

    def labels(params):
        label = lambda path, _: "still" if still(jax.tree_util.keystr(path, simple=True, separator="/")) else "moving"
        return jax.tree_util.tree_map_with_path(label, params)

    return optax.partition({"moving": tx, "still": optax.set_to_zero()}, labels)


def clip_weights(tx: optax.GradientTransformation, *, limit: float = 0.01) -> Optimizer:
    """`tx`, after which every parameter is clipped to [-limit, limit]: the Lipschitz constraint of the original WGAN.

    Args:
      tx: any of the optimisers above, or of optax.
      limit: > 0, a number.
    Returns:
      A GradientTransformationExtraArgs with `update(..., kimg=)`; `params` must be given to `update`. Its update is the
      clipped parameter minus the old one, so adding it may miss the limit by one rounding.
    Raises:
      UserError: a limit that is not positive. ValueError: an update without `params`.
    Source: Arjovsky et al. 2017, algorithm 1. Normalisation scales are clipped too, as there.
    """
    if limit <= 0:
        raise UserError(f"limit: weights cannot be clipped to {limit}; give a positive number such as 0.01")

    def update(updates, state, params=None, **extra):
        del extra
        if params is None:
            raise ValueError("params: clipping needs the parameters; call update(grads, state, params, ...)")
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params), state

    clip = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    return optax.chain(optax.with_extra_args_support(tx), clip)

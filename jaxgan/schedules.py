"""Values that change during training: a schedule is a function kimg [] -> value [].

Progress is counted in images: kimg = step * global batch / 1000, thousands of images that the generator has been updated on (a
discriminator with n updates a step has seen n times as many). A schedule is pure and traceable, so one compiled step serves
the whole run. Wherever a hyper-parameter is expected, both a number and a schedule are accepted (`as_schedule`).
"""

import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.typing import Array, Scalar, ScalarOrSchedule, Schedule


def as_schedule(value: ScalarOrSchedule) -> Schedule:
    """A number or a schedule, as a schedule.

    Args:
      value: a number, an array [], or a function kimg [] -> value [] (returned as it is).
    Returns:
      A Schedule.
    Source: convention of this library.
    """
    return value if callable(value) else constant(value)


def constant(value: Scalar) -> Schedule:
    """The same value at every kimg: f(kimg) = value.

    Args:
      value: a number or an array [].
    Returns:
      A Schedule, float32 [].
    Source: convention of this library.
    """
    return lambda kimg: jnp.asarray(value, jnp.float32)


def linear(start: Scalar, end: Scalar, kimg: float) -> Schedule:
    """A straight line from `start` at 0 to `end` at `kimg`, then `end`: start + (end - start) min(t / kimg, 1).

    Args:
      start: value at kimg 0.
      end: value from `kimg` on.
      kimg: length, thousands of images, >= 0; 0 means `end` at once.
    Returns:
      A Schedule, float32 [].
    Raises:
      UserError: negative length.
    Source: convention of this library.
    """
    share = _share(kimg)
    return lambda now: (1 - share(now)) * start + share(now) * end


def linear_decay(value: Scalar, start: float, end: float) -> Schedule:
    """The value until `start`, then a straight line to 0 at `end`: value (1 - (t - start) / (end - start)) in between.

    Args:
      value: a number or an array [].
      start, end: thousands of images, start <= end.
    Returns:
      A Schedule, float32 [].
    Raises:
      UserError: an end before the start.
    Source: Zhu et al. 2017 (CycleGAN), section 4, training details: 100 epochs of each.
    """
    falling = linear(value, 0.0, end - start)
    return lambda now: jnp.where(now < start, value, falling(now - start))


def cosine(start: Scalar, end: Scalar, kimg: float) -> Schedule:
    """Half a cosine from `start` at 0 to `end` at `kimg`, then `end`: end + (start - end) (1 + cos(pi t / kimg)) / 2.

    Args:
      start: value at kimg 0.
      end: value from `kimg` on.
      kimg: length, thousands of images, >= 0; 0 means `end` at once.
    Returns:
      A Schedule, float32 []. Exactly `start` at 0 and exactly `end` at `kimg`.
    Raises:
      UserError: negative length.
    Source: Loshchilov and Hutter 2017, eq. 5, one period without restart. R3GAN (Huang et al. 2024) schedules the
      learning rate, Adam's beta2, gamma, the half-life of the average and the augmentation probability in this way.
    """
    share = _share(kimg)
    falling = lambda now: 0.5 * (1 + jnp.cos(jnp.pi * share(now)))
    return lambda now: falling(now) * start + (1 - falling(now)) * end


def warmup(value: ScalarOrSchedule, kimg: float) -> Schedule:
    """A line from 0 to the value over the first `kimg`, then the value: value(t) min(t / kimg, 1).

    Args:
      value: a number or a Schedule, of the same clock (it is not delayed).
      kimg: length, thousands of images, >= 0; 0 means no warm-up.
    Returns:
      A Schedule, float32 [].
    Raises:
      UserError: negative length.
    Source: Goyal et al. 2017, section 2.2 (gradual warm-up).
    """
    share, value = _share(kimg), as_schedule(value)
    return lambda now: share(now) * value(now)


def ramp(ema_kimg: ScalarOrSchedule, rampup: float | None) -> Schedule:
    """Half-life of a weight average that grows with training: min(ema_kimg, rampup * kimg).

    Args:
      ema_kimg: final half-life, thousands of images; a number or a Schedule.
      rampup: share of the images seen so far, >= 0 (StyleGAN2: 0.05); None for no ramp.
    Returns:
      A Schedule of half-lives, float32 [], 0 at kimg 0 (the average is then the current weights).
    Raises:
      UserError: a negative half-life or share.
    Source: Karras et al. 2020 (StyleGAN2-ADA), `ema_rampup` of its training loop.
    """
    if not callable(ema_kimg) and ema_kimg < 0:
        raise UserError(f"ema_kimg {ema_kimg:g}: a half-life is 0 or more thousand images; 0 is no average")
    full = as_schedule(ema_kimg)
    if rampup is None:
        return full
    if rampup < 0:
        raise UserError(f"rampup: {rampup} is negative; give the share of the images seen, such as 0.05, or None")
    return lambda kimg: jnp.minimum(full(kimg), jnp.asarray(kimg, jnp.float32) * rampup)


def half_life_beta(batch: float, ema_kimg: Scalar) -> Array:
    """Decay per step of an average with a half-life counted in images: 0.5 ** (batch / 1000 / ema_kimg).

    Args:
      batch: global images per step, > 0 (all devices together).
      ema_kimg: half-life, thousands of images, >= 0: a number or an array [].
    Returns:
      float32 [], in [0, 1]: 0 at half-life 0 (no averaging), 1 at infinity. Rounding beta to float32 moves 1 - beta by
      at most 3e-8, which is 0.04 % of it at a half-life of 10,000 batches.
    Source: StyleGAN2's training loop (`ema_beta`), with 0 where that adds 1e-8; ProGAN's decay of 0.999 per batch of 16 is a
      half-life of 11.1.
    """
    # 2^-1000 is 0 in float32, so the bound changes no value; it keeps the division and its gradient finite at 0.
    return jnp.exp2(-(batch / 1000) / jnp.maximum(jnp.asarray(ema_kimg, jnp.float32), batch / 1e6))


def _share(length):
    """kimg -> how much of `length` has passed, float32 in [0, 1]."""
    if length < 0:
        raise UserError(f"kimg: the length of a schedule is {length}; give thousands of images, 0 or more")
    if length == 0:
        return lambda now: jnp.ones_like(now, jnp.float32)
    return lambda now: jnp.clip(jnp.asarray(now, jnp.float32) / length, 0.0, 1.0)

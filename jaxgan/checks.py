"""What the losses and penalties ask of their arguments; each mistake is a ValueError at trace time, in one line."""

from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.typing import AnyArray, Array


def array(name: str, x: Any) -> Array:
    """`x` as an array; an error where it is none, or several (a discriminator's logits and features)."""
    if isinstance(x, tuple | list) and any(jnp.ndim(part) for part in x if hasattr(part, "shape")):
        raise ValueError(f"{name}: a {type(x).__name__} of {len(x)} arrays; give one array (of several scales, add the losses)")
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: a {type(x).__name__}; give an array") from None


def above_0(name: str, *values: Any) -> None:
    """An error unless all numbers are above 0; traced ones pass."""
    if not values or any(isinstance(value, Real) and not value > 0 for value in values):
        raise ValueError(f"{name}: {', '.join(map(str, values)) or 'none'}; give what is above 0")


def floats(name: str, x: Any) -> Array:
    """`x` in float32, or float64 where it already is; an error unless it is of a float type."""
    x = array(name, x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}: dtype is {x.dtype}; give floats (logits are D's raw output, images are in [-1, 1])")
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def pair(real: Any, fake: Any, name: str = "logits") -> tuple[Array, Array]:
    """Both arrays by `floats`; an error unless both are there and of one shape."""
    if real is None or fake is None:
        raise ValueError(f"{name}: this needs the real and the fake ones; one of them is None")
    real, fake = floats(f"real {name}", real), floats(f"fake {name}", fake)
    if real.shape != fake.shape:
        raise ValueError(f"{name}: real {real.shape} and fake {fake.shape} differ in shape; give equal batches")
    return real, fake


def fake_alone(real: Any, fake: Any) -> Array:
    """The fake logits by `floats`, where the real ones may be None; an error if they are given in another shape."""
    return floats("fake logits", fake) if real is None else pair(real, fake)[1]


def labels_of(labels: Any, batch: int, classes: int) -> Array:
    """Integer labels [B] as int32, whatever their type; an error for floats (one-hot rows too) or another length."""
    labels = array("labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.shape != (batch,):
        raise ValueError(
            f"labels: {labels.dtype} {labels.shape}; give integers [{batch}] in [0, {classes}), one per row of the logits"
        )
    return labels.astype(jnp.int32)  # in a narrow type, comparing them with a larger number of classes is an error


def images(name: str, x: Any) -> Array:
    """`x` as a JAX array; an error unless it is of floats [B, ...]. It keeps its dtype, in which the critic runs."""
    if not hasattr(x, "dtype"):
        raise ValueError(f"{name}: a {type(x).__name__}; give an array of floats [B, ...]")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name}: images are {x.dtype}; convert them to floats in [-1, 1] first")
    if x.ndim < 2:
        raise ValueError(f"{name}: shape {x.shape} has no image axes; give [B, ...]")
    return jnp.asarray(x)  # float64 of NumPy is float32 here, outside 64-bit mode, and its dtype could not be asked for


def same_images(real: Any, fake: Any) -> tuple[Array, Array]:
    """Both by `images`; an error unless they are of one shape."""
    real, fake = images("real", real), images("fake", fake)
    if real.shape != fake.shape:
        raise ValueError(f"images: real {real.shape} and fake {fake.shape} differ in shape; give equal batches")
    return real, fake


def one_logit_an_image(logits: Any, x: AnyArray) -> Array:
    """Logits by `floats`; an error unless there is one for each image of `x`."""
    shape = getattr(logits, "shape", None)  # a tuple, of a discriminator with a class head, has none
    if shape != x.shape[:1]:
        gave = f"logits of shape {shape}" if shape is not None else f"a {type(logits).__name__}"
        raise ValueError(f"critic: {x.shape[0]} images gave {gave}; return one logit per image, [B] (sum or average patches)")
    return floats("logits", logits)


def image_keys(key: Array, batch: int) -> Array:
    """Keys [B], one an image: `key` is either that, or one key [], from which image i gets fold_in(key, i).

    With JAX's default, threefry, an image's draws are a function of its own key. Keys of the kind rbg draw a whole batch from the
    first of them, under `jax.vmap`: then they depend on the batch too, and a run on the number of devices.
    """
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError("key: not a typed key; make it with jax.random.key(seed)")
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(batch))
    if key.shape != (batch,):
        raise ValueError(f"key: shape {key.shape} for {batch} images; give one key [] or one per image [{batch}]")
    return key


def normal_like(key: Array, x: AnyArray) -> Array:
    """Standard normal noise of the shape and dtype of `x` [B, ...], drawn for each image from its own key."""
    draw = lambda k: jax.random.normal(k, x.shape[1:], jnp.float32)
    return jax.vmap(draw)(image_keys(key, x.shape[0])).astype(x.dtype)


def uniform_like(key: Array, x: AnyArray) -> Array:
    """One number in [0, 1) for each image of `x` [B, ...], shaped [B, 1, ...] to multiply it, from its own key."""
    u = jax.vmap(lambda k: jax.random.uniform(k, (), jnp.float32))(image_keys(key, x.shape[0]))
    return u.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1))

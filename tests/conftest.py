"""Four faked CPU devices, strict shapes: set before JAX starts."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

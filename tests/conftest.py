"""Four faked CPU devices, strict shapes: set before JAX starts."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the time goes into compiling. The commands, which tests run in processes of their own, are optimised as users'.
jax.config.update("jax_disable_most_optimizations", True)

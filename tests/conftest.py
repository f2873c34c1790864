"""Four faked CPU devices, strict shapes: set before JAX starts."""

import os
from importlib import metadata

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
if metadata.version("jaxlib").startswith("0.10."):  # a third less to compile; later versions do not have it
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the time goes into compiling. The commands, which tests run in processes of their own, are optimised as users'.
jax.config.update("jax_disable_most_optimizations", True)

"""Four faked CPU devices, strict shapes: set before JAX starts."""

import gc
import os
from collections import Counter
from importlib import metadata

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
if metadata.version("jaxlib").startswith(("0.10.", "0.11.")):  # compiled in half the time; later versions have no such option
    less = " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + less

import jax  # noqa: E402

from jaxgan.memory import collect_rarely  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the time goes into compiling. The commands, which tests run in processes of their own, are optimised as users'.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_configure(config):
    config.option.loadscopereorder = False  # xdist's order: by the number of tests, which leaves the longest file for the end


def pytest_collection_finish():
    collect_rarely()  # all is imported by now; most tests trace, which takes a sixth less of the time so


slow = Counter()  # path -> its slow tests
done = set()  # the files whose tests are over


@pytest.hookimpl(trylast=True)  # after the fixtures'
def pytest_runtest_teardown(item, nextitem):
    """Drop what was compiled, after a file with slow tests and every eighth other one: a process kept 5 GB in the end."""
    if nextitem is None or nextitem.path != item.path:
        done.add(item.path)
        if slow[item.path] or len(done) % 8 == 0:
            jax.clear_caches()
            gc.collect()


def pytest_collection_modifyitems(items):
    """Files with the most slow tests first, so that no worker is left alone with them."""
    slow.update(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])

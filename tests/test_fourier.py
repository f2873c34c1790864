"""fourier: the three maps against lax, by both kinds of border, odd strides and sizes; where ops chooses them."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import backend, conv_rules, fourier, ops
from tests.shared import draw

CASES = [
    ((7, 7), (5, 5), 1, ((2, 2), (2, 2)), 121),
    ((14, 14), (5, 5), 2, ((1, 2), (1, 2)), 94),
    ((7, 6), (4, 3), 2, ((0, 0), (0, 0)), None),
    ((6, 9), (3, 3), 3, ((2, 0), (1, 2)), None),
    ((5, 4), (2, 3), 1, ((1, 0), (2, 1)), None),
    ((4, 4), (3, 3), 1, ((1, 1), (1, 1)), 37),
]


def close(ours, exact):
    assert ours.shape == exact.shape
    assert np.abs(ours - exact).max() < 2e-6 * np.abs(exact).max()


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("image, kernel, stride, pads, points", CASES)
def test_the_maps_are_those_of_lax(monkeypatch, image, kernel, stride, pads, points, wide):
    monkeypatch.setattr(backend, "cpu_has", lambda feature: wide)
    x, k = draw(0, 3, *image, 4), draw(1, *kernel, 4, 5)
    how, plain = fourier.plan(image, kernel, stride, pads), conv_rules.Geometry(stride, pads, image, kernel, 1)
    assert points is None or len(how.A) == len(how.B) == len(how.C) == points

    @jax.jit
    def both(x, k):
        y = conv_rules.direct(x, k, plain)
        ours = fourier.convolve(x, k, how, stride), fourier.transpose(y, k, how, stride, image)
        ours = *ours, fourier.kernel_gradient(x, y, how, stride, kernel)
        return ours, (y, conv_rules.input_gradient(y, k, plain), conv_rules.kernel_gradient(x, y, plain))

    for a, b in zip(*both(x, k), strict=True):
        close(a, b)
    convolved = jax.make_jaxpr(lambda x, k: fourier.convolve(x, k, how, stride))(x, k)
    assert sum(e.primitive.name == "dot_general" and e.outvars[0].aval.ndim == 3 for e in convolved.eqns) == (2 if wide else 4)


@pytest.mark.parametrize("stride, image", [(1, 5), (2, 8)])
def test_derivatives_of_both_orders_are_those_of_lax(stride, image):
    x, k = draw(0, 2, image, image, 3), 0.3 * draw(1, 5, 5, 3, 4)
    pads = ((2, 2), (2, 2)) if stride == 1 else ((1, 2), (1, 2))
    geometry = conv_rules.Geometry(stride, pads, (image, image), (5, 5), 1)
    if stride == 1:
        maps = [lambda x, k: fourier.convolve(x, k, geometry.plan, 1), lambda x, k: conv_rules.direct(x, k, geometry)]
    else:
        maps = [lambda x, k, g=geometry._replace(transform=t): conv_rules.forward(x, k, g) for t in (True, False)]

    def orders(f):
        first = jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))), (0, 1))
        second = jax.grad(lambda x, k: sum(jnp.sum(jnp.sin(g)) for g in first(x, k)), (0, 1))
        return jax.jit(lambda x, k: (first(x, k), second(x, k)))(x, k)

    for a, b in zip(*(jax.tree.leaves(orders(f)) for f in maps), strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


def test_ops_takes_it_where_it_pays_and_the_results_are_equal():
    x, k = draw(0, 8, 7, 7, 64), draw(1, 5, 5, 64, 64)
    assert fourier.pays(x.dtype, 8, (7, 7), k.shape, 1, ((2, 2), (2, 2)))
    assert not fourier.pays(jnp.bfloat16, 8, (7, 7), k.shape, 1, ((2, 2), (2, 2)))
    assert not fourier.pays(x.dtype, 8, (28, 28), (5, 5, 1, 64), 2, ((1, 2), (1, 2)))
    geometry = conv_rules.Geometry(1, ((2, 2), (2, 2)), (7, 7), (5, 5), 1)
    assert "dot_general" in str(jax.make_jaxpr(ops.conv)(x, k))
    close(ops.conv(x, k), conv_rules.direct(x, k, geometry))
    close(ops.conv_transpose(x, k, stride=1), conv_rules.direct(x, k[::-1, ::-1], geometry))


def test_the_cpu_says_what_it_has():
    assert not backend.cpu_has("flags") and not backend.cpu_has("no such feature")
    if os.uname().machine == "x86_64" and os.path.exists("/proc/cpuinfo"):
        assert backend.cpu_has("fpu")

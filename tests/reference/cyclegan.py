"""Float64 NumPy of CycleGAN, written from the paper: the generator (appendix 7.2) and the whole objective (equations 1 to 3)."""

import numpy as np

from tests.reference.classic import f64, norm
from tests.reference.pix2pix import conv, double


def reflect(x, n):
    """n more pixels on every side: index -k is k, and size - 1 + k is size - 1 - k."""
    for axis in (1, 2):
        size = x.shape[axis]
        x = np.take(x, [size - 1 - abs(size - 1 - abs(i)) for i in range(-n, size + n)], axis)
    return x


def translator(params, x, blocks):
    """c7s1, d, d, R ..., u, u, c7s1; each image normalised by its own statistics."""
    p, none, ones = f64(params), [(0, 0), (0, 0)], [(1, 1), (1, 1)]
    normed = lambda x, name: norm(x, p[f"{name}_norm"], (1, 2))
    relu = lambda x: np.maximum(x, 0)
    x = relu(normed(conv(reflect(np.asarray(x, np.float64), 3), p["first"], 1, none), "first"))
    sizes = []
    for name in ("down1", "down2"):
        sizes.append(x.shape[1:3])
        x = relu(normed(conv(x, p[name], 2, ones), name))
    for i in range(blocks):
        block = p[f"block{i}"]
        y = relu(norm(conv(reflect(x, 1), block["conv0"], 1, none), block["conv0_norm"], (1, 2)))
        x = x + norm(conv(reflect(y, 1), block["conv1"], 1, none), block["conv1_norm"], (1, 2))
    for name in ("up2", "up1"):
        x = relu(normed(double(x, p[name], sizes.pop()), name))
    return np.tanh(conv(reflect(x, 3), p["last"], 1, none))


def objective(a, b, g, f, d_a, d_b, lam, lam_identity):
    """(L_D, L_G, cycle, identity) of G: A to B, F: B to A and their discriminators; squares for logarithms, D's halved."""
    to_one, to_zero = (lambda y: np.mean((y - 1) ** 2)), (lambda y: np.mean(y**2))
    fake_a, fake_b = f(b), g(a)
    of_d = (to_one(d_b(b)) + to_zero(d_b(fake_b)) + to_one(d_a(a)) + to_zero(d_a(fake_a))) / 2
    cycle = np.mean(np.abs(f(fake_b) - a)) + np.mean(np.abs(g(fake_a) - b))
    identity = np.mean(np.abs(g(b) - b)) + np.mean(np.abs(f(a) - a))
    return of_d, to_one(d_b(fake_b)) + to_one(d_a(fake_a)) + lam * cycle + lam_identity * identity, cycle, identity

"""The penalties in float64 NumPy, from the papers' formulas, with the critic's gradient written by hand.

The critic is D(x) = sum_k c_k tanh(<a_k, x>), with gradient sum_k c_k (1 - tanh^2) a_k; the generator is
G(w) = tanh(M w), with Jacobian diag(1 - tanh^2) M. `a` is [K, pixels], `c` [K], `m` [pixels, W]; images are rows
[B, pixels].
"""

import numpy as np


def critic(x, a, c):
    return np.array([sum(ck * np.tanh(ak @ row) for ak, ck in zip(a, c, strict=True)) for row in x])


def gradient(row, a, c):
    return sum(ck * (1 - np.tanh(ak @ row) ** 2) * ak for ak, ck in zip(a, c, strict=True))


def lengths(x, a, c):
    return np.array([np.linalg.norm(gradient(row, a, c)) for row in x])


def r1(x, a, c):
    return lengths(x, a, c) ** 2


def finite_difference_r1(x, a, c, noise, sigma=0.01):
    return ((critic(x, a, c) - critic(x + sigma * noise, a, c)) / sigma) ** 2


def wgan_gp(real, fake, a, c, u):
    between = np.array([t * x + (1 - t) * y for t, x, y in zip(u, real, fake, strict=True)])
    return (lengths(between, a, c) - 1) ** 2


def wgan_lp(real, fake, a, c, u):
    between = np.array([t * x + (1 - t) * y for t, x, y in zip(u, real, fake, strict=True)])
    return np.maximum(0, lengths(between, a, c) - 1) ** 2


def dragan(x, a, c, noise, std=0.25):
    return (lengths(x + std * noise, a, c) - 1) ** 2


def path_length(w, m, noise, pl_mean, pixels, decay=0.01):
    """w [B, L, W]: every layer's w enters as its mean over the layers; noise [B, pixels * channels], not scaled."""
    values = []
    for row, y in zip(w, noise / np.sqrt(pixels), strict=True):
        jacobian = (1 - np.tanh(m @ row.mean(0)) ** 2)[:, None] * m / len(row)
        per_layer = np.sum((jacobian.T @ y) ** 2)  # the same for each layer
        values.append(np.sqrt(per_layer))
    new = pl_mean + decay * (np.mean(values) - pl_mean)
    return (np.array(values) - new) ** 2, new


def lecam(real, fake, ema, decay=0.99, one_sided=False):
    a_r, a_f = decay * ema[0] + (1 - decay) * real.mean(), decay * ema[1] + (1 - decay) * fake.mean()
    clip = (lambda x: np.maximum(0, x)) if one_sided else (lambda x: x)
    return clip(real - a_f) ** 2 + clip(a_r - fake) ** 2, (a_r, a_f)


def cr(x, moved, a, c):
    return (critic(x, a, c) - critic(moved, a, c)) ** 2


def zcr_g(w, moved, m):
    return -np.array([np.mean((np.tanh(m @ x) - np.tanh(m @ y)) ** 2) for x, y in zip(w, moved, strict=True)])


def orthogonal(kernel, diagonal):
    w = kernel.reshape(-1, kernel.shape[-1])
    total = 0.0
    for i in range(w.shape[1]):
        for j in range(w.shape[1]):
            if i != j:
                total += (w[:, i] @ w[:, j]) ** 2
            elif diagonal:
                total += (w[:, i] @ w[:, i] - 1) ** 2
    return total

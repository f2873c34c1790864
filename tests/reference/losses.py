"""The losses in float64 NumPy, written from the papers' formulas; nothing in it is made numerically safe."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def minimax_d(r, f):
    return -np.log(sigmoid(r)) - np.log(1 - sigmoid(f))


def minimax_g(r, f):
    return np.log(1 - sigmoid(f))


non_saturating_d = minimax_d


def non_saturating_g(r, f):
    return -np.log(sigmoid(f))


def least_squares_d(r, f, a=0.0, b=1.0):
    return (r - b) ** 2 / 2 + (f - a) ** 2 / 2


def least_squares_g(r, f, c=1.0):
    return (f - c) ** 2 / 2


def hinge_d(r, f):
    return np.maximum(0, 1 - r) + np.maximum(0, 1 + f)


def hinge_g(r, f):
    return -f


def wasserstein_d(r, f):
    return -(r - f)


wasserstein_g = hinge_g


def relativistic_d(r, f):
    return -np.log(sigmoid(r - f))


def relativistic_g(r, f):
    return -np.log(sigmoid(f - r))


def relativistic_average_d(r, f):
    return -np.log(sigmoid(r - f.mean())) - np.log(1 - sigmoid(f - r.mean()))


def relativistic_average_g(r, f):
    return -np.log(sigmoid(f - r.mean())) - np.log(1 - sigmoid(r - f.mean()))


def dual_contrastive_d(r, f):
    real = [-np.log(np.exp(x) / (np.exp(x) + np.exp(f).sum())) for x in r]
    fake = [-np.log(np.exp(-x) / (np.exp(-x) + np.exp(-r).sum())) for x in f]
    return np.array(real) + np.array(fake)


def dual_contrastive_g(r, f):
    return -dual_contrastive_d(r, f)


def pairs(kernel, x, y, skip):
    """Mean of the kernel over pairs (i, j); i = j left out if `skip`."""
    values = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(y) if not (skip and i == j)]
    return np.mean(values)


def mmd2(kernel, x, y, unbiased):
    return pairs(kernel, x, x, unbiased) + pairs(kernel, y, y, unbiased) - 2 * pairs(kernel, x, y, False)


def gaussian(sigmas):
    return lambda a, b: sum(np.exp(-np.sum((a - b) ** 2) / (2 * s * s)) for s in sigmas)


def rational_quadratic(alphas, linear):
    kernel = lambda a, b: sum((1 + np.sum((a - b) ** 2) / (2 * t)) ** (-t) for t in alphas)
    return (lambda a, b: kernel(a, b) + np.dot(a, b)) if linear else kernel


def mmd_gaussian_g(r, f, sigmas=(1, 2, 4, 8, 16), unbiased=True):
    return mmd2(gaussian(sigmas), r, f, unbiased)


def mmd_rational_quadratic_g(r, f, alphas=(0.2, 0.5, 1, 2, 5), linear=False, unbiased=True):
    return mmd2(rational_quadratic(alphas, linear), r, f, unbiased)


def mmd_repulsive_d(r, f, sigma=1, lower=0.25, upper=4.0, unbiased=True):
    of_real = lambda a, b: np.exp(-min(np.sum((a - b) ** 2), upper) / (2 * sigma * sigma))
    of_fake = lambda a, b: np.exp(-max(np.sum((a - b) ** 2), lower) / (2 * sigma * sigma))
    return pairs(of_real, r, r, unbiased) - pairs(of_fake, f, f, unbiased)


def mmd_repulsive_g(r, f, sigma=1, unbiased=True):
    return mmd2(gaussian([sigma]), r, f, unbiased)


def class_cross_entropy(logits, labels):
    return np.array([-np.log(np.exp(row[c]) / np.exp(row).sum()) for row, c in zip(logits, labels, strict=True)])


def gaussian_code(means, codes):
    density = np.exp(-((codes - means) ** 2) / 2) / np.sqrt(2 * np.pi)
    return np.array([-np.log(row).sum() for row in density])


def ac_gan_d(r, f, labels):
    return class_cross_entropy(r, labels) + class_cross_entropy(f, labels)


def ac_gan_g(r, f, labels):
    return class_cross_entropy(f, labels)


def multi_hinge(row, c):
    return max(0.0, 1 - row[c] + max(value for k, value in enumerate(row) if k != c))


def multi_hinge_d(r, f, labels):
    return np.array([multi_hinge(r[i], c) + multi_hinge(f[i], f.shape[1] - 1) for i, c in enumerate(labels)])


def multi_hinge_g(r, f, labels):
    return np.array([multi_hinge(f[i], c) for i, c in enumerate(labels)])


def d2d_ce(embeddings, proxies, labels, temperature=0.5, m_p=0.98, m_n=0.02):
    f = [x / np.linalg.norm(x) for x in embeddings]
    v = [x / np.linalg.norm(x) for x in proxies]
    values = []
    for i, c in enumerate(labels):
        own = np.exp(min(0, f[i] @ v[c] - m_p) / temperature)
        others = [np.exp(max(0, f[i] @ f[j] - m_n) / temperature) for j in range(len(f)) if labels[j] != c]
        values.append(-np.log(own / (own + sum(others))))
    return np.array(values)


def feature_matching(r, f):
    return np.sum((r.mean(0) - f.mean(0)) ** 2)


def feature_matching_l1(r, f):
    return np.mean(np.abs(r.mean(0) - f.mean(0)))


def l1(r, f):
    return np.array([np.mean(np.abs(a - b)) for a, b in zip(r, f, strict=True)])


def central_differences(function, args, index, step=1e-5):
    """Gradient of a NumPy function of several arrays with respect to args[index], by central differences."""
    gradient = np.zeros_like(args[index])
    for place in np.ndindex(gradient.shape):
        moved = [args[index].copy(), args[index].copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (np.sum(function(*args[:index], m, *args[index + 1 :])) for m in moved)
        gradient[place] = (up - down) / (2 * step)
    return gradient


def relative_error(ours, reference):
    """Largest difference over the largest reference value (or 1e-300 where all are zero)."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float(np.max(np.abs(ours - reference)) / max(np.max(np.abs(reference)), 1e-300))


def top_k(values, logits, share):
    mean = lambda x: x.reshape(len(x), -1).mean(1)
    k = math.ceil(share * len(values))
    return mean(values)[sorted(range(len(values)), key=lambda i: -mean(logits)[i])[:k]].mean()

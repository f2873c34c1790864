"""The metrics in float64 NumPy, written from the papers' formulas: all pairs at once, nothing made numerically safe."""

import numpy as np


def frechet_distance(mean1, cov1, mean2, cov2):
    roots = np.sqrt(np.linalg.eigvals(cov1 @ cov2).astype(complex)).real
    return ((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * roots.sum()


def frechet_of_few(x, y):
    """The same from the rows themselves: the nuclear norm of X Y^T, exact for fewer rows than features."""
    a, b = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (x, y))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross


def distances(x, y):
    return np.sqrt(((x[:, None].astype(np.float64) - y[None]) ** 2).sum(-1))


def radius(x, k):
    return np.sort(distances(x, x), axis=1)[:, k]


def precision_recall(real, fake, k, close=np.less_equal):
    d = distances(real, fake)
    precision = close(d, radius(real, k)[:, None]).any(0).mean()
    recall = close(d, radius(fake, k)[None]).any(1).mean()
    return precision, recall


def density_coverage(real, fake, k, close=np.less):
    inside = close(distances(real, fake), radius(real, k)[:, None])
    return inside.sum() / (k * len(fake)), inside.any(1).mean()


def mmd2(x, y):
    def k(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    xx, yy = k(x, x), k(y, y)
    return (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * k(x, y).mean()


def inception_score(p, splits):
    scores = []
    for part in np.array_split(p, splits):
        scores.append(np.exp((part * np.log(part / part.mean(0))).sum(1).mean()))
    return np.mean(scores), np.std(scores)


def authentic(train, fake):
    own = distances(train, train)
    np.fill_diagonal(own, np.inf)
    d = distances(train, fake)
    return d.min(0) > own.min(0)[d.argmin(0)]


def relative_error(value, reference):
    return abs(value - reference) / abs(reference)

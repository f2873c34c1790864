"""Augmentations in float64 NumPy/SciPy, one image at a time, from the papers' formulas."""

import numpy as np
from scipy import ndimage, signal


def affine(image, matrix, mode):
    """Bilinear resample of [H, W, C] at the points M (x, y, 1), origin at the centre; `mode` as in scipy.ndimage."""
    h, w = image.shape[:2]
    cy, cx = (h - 1) / 2, (w - 1) / 2
    y, x = np.mgrid[:h, :w]
    points = np.asarray(matrix, np.float64) @ np.stack([x.ravel() - cx, y.ravel() - cy, np.ones(h * w)])
    at = [points[1] + cy, points[0] + cx]
    channels = [ndimage.map_coordinates(c, at, order=1, mode=mode, cval=0.0) for c in np.moveaxis(image, -1, 0)]
    return np.stack(channels, -1).reshape(image.shape)


def wavelet_affine(image, matrix, taps, margin):
    """Pads by reflection, upsamples by 2, samples bilinearly on a half-pixel grid, downsamples by 2."""
    h, w = image.shape[:2]
    taps = np.asarray(taps, np.float64)
    moment = taps @ np.arange(len(taps)) / taps.sum()
    rows, cols = 2 * h + len(taps) - 2, 2 * w + len(taps) - 2
    y, x = np.mgrid[:rows, :cols]
    # Fine sample n is at pixel (n - moment) / 2.
    x, y = (x.ravel() - moment) / 2 - (w - 1) / 2, (y.ravel() - moment) / 2 - (h - 1) / 2
    px, py, _ = np.asarray(matrix, np.float64) @ np.stack([x, y, np.ones_like(x)])
    at = [2 * (py + (h - 1) / 2 + margin) + moment, 2 * (px + (w - 1) / 2 + margin) + moment]
    out = np.empty(image.shape)
    for c in range(image.shape[2]):
        fine = np.pad(image[..., c].astype(np.float64), margin, mode="reflect")
        for axis in (0, 1):
            fine = signal.upfirdn(np.sqrt(2) * taps / taps.sum() * np.sqrt(2), fine, up=2, axis=axis)
        sampled = ndimage.map_coordinates(fine, at, order=1).reshape(rows, cols)
        for axis in (0, 1):  # correlation: the adjoint of the upsampling
            sampled = signal.upfirdn(taps[::-1] / taps.sum(), sampled, axis=axis)
            sampled = np.take(sampled, np.arange(len(taps) - 1, sampled.shape[axis] - len(taps) + 1, 2), axis=axis)
        out[..., c] = sampled
    return out


def color_matrix(brightness=0.0, log2_contrast=0.0, luma_flip=False, hue=0.0, log2_saturation=0.0):
    """The product of the ADA paper's five colour transforms, 4 by 4, by the general formulas."""
    v = np.array([1, 1, 1, 0]) / np.sqrt(3)
    eye, outer = np.eye(4), np.outer(v, v)
    out = eye.copy()
    out[:3, 3] = brightness
    out = np.diag([2.0**log2_contrast] * 3 + [1]) @ out
    if luma_flip:
        out = (eye - 2 * outer) @ out
    c, s, cross = np.cos(hue), np.sin(hue), np.zeros((4, 4))
    cross[:3, :3] = np.cross(np.eye(3), -v[:3]).T  # column j is v x e_j
    turn = c * eye + s * cross + (1 - c) * outer
    turn[3, 3] = 1
    out = turn @ out
    keep = outer + (eye - outer) * 2.0**log2_saturation
    keep[3, 3] = 1
    return keep @ out


def mean_color_matrix(p):
    """E[color_matrix] when each transform is drawn with probability p: the product of the five expectations."""
    v = np.array([1, 1, 1, 0]) / np.sqrt(3)
    eye, outer = np.diag([1.0, 1, 1, 0]), np.outer(v, v)
    contrast = eye * (1 - p + p * np.exp((0.5 * np.log(2)) ** 2 / 2))
    luma = eye - p * outer
    hue = (1 - p) * eye + p * outer
    saturation = outer + (eye - outer) * (1 - p + p * np.exp(np.log(2) ** 2 / 2))
    out = saturation @ hue @ luma @ contrast
    out[3, 3] = 1
    return out


def band_filters(taps):
    """The four bands' taps by convolving polynomials in z, and zero-stuffing them for z^2, z^4; [4] arrays."""
    h = np.asarray(taps, np.float64)
    g = h * (-1.0) ** np.arange(len(h))
    low, high = np.convolve(h, h[::-1]) / 2, np.convolve(g, g[::-1]) / 2

    def power(f, n):
        return np.insert(f, np.repeat(np.arange(1, len(f)), n - 1), 0.0) if n > 1 else f

    return [
        np.convolve(np.convolve(low, power(low, 2)), power(low, 4)),
        np.convolve(np.convolve(low, power(low, 2)), power(high, 4)),
        np.convolve(low, power(high, 2)),
        high,
    ]


def image_filter(image, gains, taps):
    """The sum of the bands weighed by gains, along both axes, on reflected borders."""
    out = image.astype(np.float64)
    for axis in (0, 1):
        bands = (ndimage.convolve1d(out, f, axis=axis, mode="mirror") for f in band_filters(taps))
        out = sum(g * b for g, b in zip(gains, bands, strict=True))
    return out


def band_gains(drawn, log2_gain):
    """The ADA paper's global gain vector, from which bands were drawn and their log2 amplifications (each [4])."""
    power = np.array([10, 1, 1, 1]) / 13
    out = np.ones(4)
    for i in range(4):
        t = np.ones(4)
        t[i] = 2.0 ** log2_gain[i] if drawn[i] else 1.0
        out = out * t / np.sqrt(np.sum(power * t**2))
    return out

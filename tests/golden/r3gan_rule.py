"""The written rule behind r3gan.npz and r3gan.pkl: weights under the official names, inputs, the cases.

r3gan.npz holds, for each case, what R3GAN's official networks and trainer (commit 19a7ddf, torch 2.13 on a CPU) give in
float64, rounded to float32: `<case>.x` and `.logits`, G of turn 0's z and D of turn 0's reals; `.loss_d`, `.r1`, `.r2` and
`.d.<name>`, means and D's gradient of turn 0 with gamma 20; `.loss_g` and `.g.<name>`, the same of G on turn 1 after D's
first step of Adam (rate 1e-3, betas 0 and 0.95). Weights: `tutorial_rule.rule(shape, leaf)` in the official layout, leaves
counted in the order below from 1 (G) and 101 (D), times 1.4 / sqrt(fan in); biases times 0.3; G's basis as it is.
r3gan.pkl is made by make_r3gan_file.py.
"""

import numpy as np

from tests.golden.tutorial_rule import rule

FILTER = np.float32(np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64)

CASES = {  # base first
    "plain": {"channels": (8, 6), "groups": (4, 3), "blocks": (1, 2), "expansion": 2, "z_dim": 5, "classes": 0},
    "classes": {"channels": (8, 8, 6), "groups": (4, 4, 3), "blocks": (1, 1, 1), "expansion": 2, "z_dim": 6, "classes": 3},
}


def generator(channels, groups, blocks, expansion, z_dim, classes):
    """state_dict of the official generator: {name: float32 array}."""
    shapes = {}
    for i, c in enumerate(channels):
        layers = f"MainLayers.{i}.Layers"
        if i:
            _between(shapes, f"{layers}.0", channels[i - 1], c)
        else:
            shapes[f"{layers}.0.Basis"] = (c, 4, 4)
            shapes[f"{layers}.0.LinearLayer.weight"] = (c, 2 * z_dim if classes else z_dim)
        _blocks(shapes, layers, 1, c, groups[i], blocks[i], expansion)
    shapes["AggregationLayer.Layer.weight"] = (3, channels[-1], 1, 1)
    if classes:
        shapes["EmbeddingLayer.weight"] = (z_dim, classes)
    return _fill(shapes, 1)


def discriminator(channels, groups, blocks, expansion, z_dim, classes):
    """The same of the official discriminator; z_dim is not used."""
    shapes = {"ExtractionLayer.Layer.weight": (channels[-1], 3, 1, 1)}
    for k, i in enumerate(reversed(range(len(channels)))):
        layers = f"MainLayers.{k}.Layers"
        _blocks(shapes, layers, 0, channels[i], groups[i], blocks[i], expansion)
        if i:
            _between(shapes, f"{layers}.{blocks[i]}", channels[i], channels[i - 1])
        else:
            shapes[f"{layers}.{blocks[0]}.Basis.weight"] = (channels[0], 1, 4, 4)
            shapes[f"{layers}.{blocks[0]}.LinearLayer.weight"] = (channels[0] if classes else 1, channels[0])
    if classes:
        shapes["EmbeddingLayer.weight"] = (channels[0], classes)
    return _fill(shapes, 101)


def inputs(case, turn, batch=4):
    """z [batch, z_dim], real [batch, H, W, 3] in [-1, 1], labels [batch] of a turn (0: D's, 1: G's)."""
    side = 4 << (len(CASES[case]["channels"]) - 1)
    z = 1.2 * rule((batch, CASES[case]["z_dim"]), 201 + turn)
    real = 0.9 * rule((batch, side, side, 3), 211 + turn)
    return np.float32(z), np.float32(real), (np.arange(batch) + turn) % 3


def _blocks(shapes, layers, first, c, groups, count, expansion):
    inner = c * expansion
    for j in range(first, first + count):
        shapes[f"{layers}.{j}.LinearLayer1.Layer.weight"] = (inner, c, 1, 1)
        shapes[f"{layers}.{j}.LinearLayer2.Layer.weight"] = (inner, inner // groups, 3, 3)
        shapes[f"{layers}.{j}.LinearLayer3.Layer.weight"] = (c, inner, 1, 1)
        shapes[f"{layers}.{j}.NonLinearity1.Bias"] = (inner,)
        shapes[f"{layers}.{j}.NonLinearity2.Bias"] = (inner,)


def _between(shapes, layer, before, after):
    shapes[f"{layer}.Resampler.Kernel"] = FILTER.shape
    if before != after:
        shapes[f"{layer}.LinearLayer.Layer.weight"] = (after, before, 1, 1)


def _fill(shapes, first):
    out = {}
    for leaf, (name, shape) in enumerate(shapes.items(), first):
        if name.endswith("Resampler.Kernel"):
            out[name] = FILTER
            continue
        scale = 0.3 if name.endswith("Bias") else 1.0 if name.endswith(".Basis") else 1.4 / np.sqrt(np.prod(shape[1:]))
        out[name] = np.float32(scale * rule(shape, leaf))
    return out

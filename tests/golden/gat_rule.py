"""The written rule behind gat.npz: weights under the official names, inputs, and where each weight is in our networks.

gat.npz holds what the networks and the loss of the authors' code (hse1032/GAT at 21a2dd0, MIT licence; torch 2.13 on a CPU, its
import of timm's PatchEmbed replaced by a convolution) give in float64, rounded to float32: see README.md. Weights:
`tutorial_rule.rule(shape, leaf)` in the official layout, leaves counted in the order below from 1 (G) and 101 (D), times
1.4 / sqrt(fan in), a hundred times that in the layers that learn at a hundredth of the rate; biases times 0.1, and 10 there;
scales and norms 1 + 0.2 rule, D's two scales a block half of that.
"""

import numpy as np

from tests.golden.tutorial_rule import rule

SIDE, CHANNELS, CLASSES, LEVELS = 8, 3, 3, 4
FIELDS = {"width": 32, "depth": 4, "heads": 4, "patch": 2}
Z, LABEL = 16, 24


def generator(width, depth, heads, patch):
    """state_dict of the official generator: {name: float32 array}."""
    shapes = {"y_embedder.embedding_table.weight": (CLASSES, Z)}
    for i, n in ((0, 2 * Z), (2, width)):
        shapes |= _linear(f"latent_embedder.{i}", n, width)
    for i in range(depth):
        shapes |= _block(f"blocks.{i}", width, heads) | _linear(f"blocks.{i}.adaLN_modulation.1", width, 4 * width)
    for i in range(LEVELS):
        shapes |= _linear(f"final_layers.{i}.linear", width, patch**2 * CHANNELS)
        shapes |= _linear(f"final_layers.{i}.adaLN_modulation.1", width, width)
    return _fill(shapes, 1)


def discriminator(width, depth, heads, patch):
    """The same of the official discriminator."""
    shapes = {"cls_token": (1, 1, width), "x_embedder.proj.weight": (width, LEVELS * CHANNELS, patch, patch)}
    shapes |= {"x_embedder.proj.bias": (width,), "y_embedder.embedding_table.weight": (CLASSES, LABEL)}
    for i in (0, 2):
        shapes |= _linear(f"y_embedder.latent_embedder.{i}", LABEL, LABEL)
    for i in range(depth):
        names = ("ls_attn", "ls_mlp", "norm1.weight", "norm2.weight")
        shapes |= {f"blocks.{i}.{name}": (width,) for name in names} | _block(f"blocks.{i}", width, heads)
    return _fill(shapes | {"final_layer.0.weight": (width,)} | _linear("final_layer.1", width, LABEL), 101)


def inputs(turn, batch=4):
    """z, real images in [-1, 1] and labels of a turn (0: D's, 1: G's; the reals and labels are the same)."""
    real = 0.9 * rule((batch, SIDE, SIDE, CHANNELS), 211)
    return np.float32(1.2 * rule((batch, Z), 201 + turn)), np.float32(real), np.arange(batch) % CLASSES


def noise(which, batch=4):
    """[B, H, W, LEVELS * CHANNELS]: 'real' and 'fake' of D's turn, what its penalties add to each ('r1' has one for all levels,
    repeated), and 'real_g' and 'fake_g' of G's."""
    leaf = 221 + ("real", "fake", "r1", "r2", "real_g", "fake_g").index(which)
    channels = CHANNELS if which == "r1" else LEVELS * CHANNELS
    return np.tile(np.float32(rule((batch, SIDE, SIDE, channels), leaf)), LEVELS if which == "r1" else 1)


def params_g(state):
    """Our generator's parameters of the official arrays (weights or gradients)."""
    out = {"mapping_network": {"classes": {"embedding": state["y_embedder.embedding_table.weight"]}}}
    out["mapping_network"] |= {f"fc{i}": _dense(state, f"latent_embedder.{2 * i}") for i in range(2)}
    for i in range(FIELDS["depth"]):
        of = f"blocks.{i}"
        out[f"block{i}"] = {**_inner(state, of), "style": _dense(state, f"{of}.adaLN_modulation.1")}
    for i in range(LEVELS):
        of = f"final_layers.{i}"
        out[f"image{i}"] = {"pixels": _dense(state, f"{of}.linear"), "style": _dense(state, f"{of}.adaLN_modulation.1")}
    return out


def params_d(state):
    """The same of the discriminator."""
    patches = state["x_embedder.proj.weight"].transpose(2, 3, 1, 0)  # rows, columns, channels in, out
    out = {"patches": {"kernel": patches.reshape(-1, patches.shape[-1]), "bias": state["x_embedder.proj.bias"]}}
    out |= {"token": state["cls_token"][0, 0], "classes": {"embedding": state["y_embedder.embedding_table.weight"]}}
    out |= {f"class_fc{i}": _dense(state, f"y_embedder.latent_embedder.{2 * i}") for i in range(2)}
    for i in range(FIELDS["depth"]):
        of, block = f"blocks.{i}", {}
        for ours, scale, norm in (("attention", "ls_attn", "norm1"), ("gated", "ls_mlp", "norm2")):
            block |= {f"{ours}_scale": state[f"{of}.{scale}"], f"{ours}_norm": {"scale": state[f"{of}.{norm}.weight"]}}
        out[f"block{i}"] = {**_inner(state, of), **block}
    return out | {"norm": {"scale": state["final_layer.0.weight"]}, "features": _dense(state, "final_layer.1")}


def _inner(state, of):
    attention = {"qkv": _dense(state, f"{of}.attn.qkv"), "out": _dense(state, f"{of}.attn.proj")}
    attention |= {name: {"scale": state[f"{of}.attn.{name}.weight"]} for name in ("q_norm", "k_norm")}
    return {"attention": attention, "gated": {"in": _dense(state, f"{of}.mlp.w12"), "out": _dense(state, f"{of}.mlp.w3")}}


def _dense(state, name):
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def _linear(name, n, features):
    return {f"{name}.weight": (features, n), f"{name}.bias": (features,)}


def _block(name, width, heads):
    hidden = 8 * width // 3
    norms = {f"{name}.attn.{norm}.weight": (width // heads,) for norm in ("q_norm", "k_norm")}
    attention = _linear(f"{name}.attn.qkv", width, 3 * width) | norms | _linear(f"{name}.attn.proj", width, width)
    return attention | _linear(f"{name}.mlp.w12", width, 2 * hidden) | _linear(f"{name}.mlp.w3", hidden, width)


def _fill(shapes, first):
    out = {}
    for leaf, (name, shape) in enumerate(shapes.items(), first):
        slow = 100 if "latent_embedder" in name else 1
        if name.endswith("bias"):
            out[name] = 0.1 * slow * rule(shape, leaf)
        elif len(shape) == 1:
            out[name] = (1 + 0.2 * rule(shape, leaf)) * (0.5 if ".ls_" in name else 1)
        else:
            out[name] = 1.4 * slow * rule(shape, leaf) / np.sqrt(np.prod(shape[1:]))
    return {name: np.float32(a) for name, a in out.items()}

"""The tutorial's step as one writes it first in Flax: `nn.ConvTranspose`, `nn.BatchNorm`, two `value_and_grad`s, one jit."""

import sys
from functools import partial
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.peer_worker import serve  # noqa: E402

leaky = partial(nn.leaky_relu, negative_slope=0.3)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z):
        norm = partial(nn.BatchNorm, use_running_average=False, momentum=0.99, epsilon=1e-3)
        x = leaky(norm()(nn.Dense(7 * 7 * 256, use_bias=False)(z))).reshape(-1, 7, 7, 256)
        x = leaky(norm()(nn.ConvTranspose(128, (5, 5), (1, 1), use_bias=False)(x)))
        x = leaky(norm()(nn.ConvTranspose(64, (5, 5), (2, 2), use_bias=False)(x)))
        return nn.tanh(nn.ConvTranspose(1, (5, 5), (2, 2), use_bias=False)(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x):
        for features in (64, 128):
            x = nn.Dropout(0.3, deterministic=False)(leaky(nn.Conv(features, (5, 5), (2, 2))(x)))
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


G, D, TX = Generator(), Discriminator(), optax.adam(1e-4)


@partial(jax.jit, donate_argnums=0)
def step(state, x, key):
    (g, stats, opt_g), (d, opt_d) = state
    kz, kr, kf = jax.random.split(key, 3)
    z = jax.random.normal(kz, (len(x), 100))

    def losses(g, d):
        fake, new = G.apply({"params": g, "batch_stats": stats}, z, mutable=["batch_stats"])
        real_out = D.apply({"params": d}, x, rngs={"dropout": kr})
        fake_out = D.apply({"params": d}, fake, rngs={"dropout": kf})
        loss_d = jax.nn.softplus(-real_out).mean() + jax.nn.softplus(fake_out).mean()
        return jax.nn.softplus(-fake_out).mean(), loss_d, new["batch_stats"]

    grads_g, new = jax.grad(lambda g: (lambda a, b, s: (a, s))(*losses(g, d)), has_aux=True)(g)
    grads_d = jax.grad(lambda d: losses(g, d)[1])(d)
    up_g, opt_g = TX.update(grads_g, opt_g)
    up_d, opt_d = TX.update(grads_d, opt_d)
    return (optax.apply_updates(g, up_g), new, opt_g), (optax.apply_updates(d, up_d), opt_d)


def build(batch: int):
    key = jax.random.key(0)
    x = jax.random.uniform(key, (batch, 28, 28, 1), minval=-1)
    g = G.init(key, jnp.zeros((1, 100)))
    d = D.init({"params": key, "dropout": key}, x[:1])["params"]
    held = [((g["params"], g["batch_stats"], TX.init(g["params"])), (d, TX.init(d)))]

    def run(steps):
        for i in range(steps):
            held[0] = step(held[0], x, jax.random.fold_in(key, i))
        jax.block_until_ready(held[0])

    return run


if __name__ == "__main__":
    serve(f"jax {jax.__version__}, flax {flax.__version__}, {jax.devices()[0].device_kind}", build)

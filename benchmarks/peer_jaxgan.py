"""Our side of `benchmarks.peers`: the whole step as the trainer runs it, feed and meter included.

`peer_jaxgan.py tutorial` is the config digits-tutorial; `r3gan` and `stylegan2` are these families at the sizes of `peer_sizes`.
Compiled programs are kept as the trainer keeps them, so that a comparison that ran out of time goes on where it was.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.flags import set_flags  # noqa: E402
from jaxgan.memory import keep_freed_memory  # noqa: E402

if __name__ == "__main__":  # as `experiments.train` does, before there are threads
    keep_freed_memory()
    set_flags()
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks.peer_sizes import R3GAN, STYLEGAN2  # noqa: E402
from benchmarks.peer_worker import serve  # noqa: E402
from benchmarks.step import Case  # noqa: E402
from experiments.configs import CONFIGS  # noqa: E402
from jaxgan import compile_cache, game, parallel, provenance, recipes, recipes_stylegan  # noqa: E402
from jaxgan.models import r3gan, stylegan2  # noqa: E402
from jaxgan.settings import Design, Settings  # noqa: E402


def dtype(size: dict):
    return jnp.bfloat16 if size["half"] else jnp.float32


@dataclasses.dataclass(frozen=True)
class R3(Settings):
    size: tuple = ()
    channels: int = 3
    sizes: dict = dataclasses.field(default_factory=dict)

    def design(self, shape, classes):
        size = self.sizes
        fields = {"channels": size["channels"], "cardinality": size["groups"], "blocks": size["blocks"], "dtype": dtype(size)}
        pair = r3gan.Generator(shape, **fields), r3gan.Discriminator(shape, **fields)
        return Design(*pair, game.game(*pair), recipes.r3gan(batch=self.batch, gamma=0.05))


@dataclasses.dataclass(frozen=True)
class Style2(Settings):
    size: tuple = ()
    channels: int = 3
    sizes: dict = dataclasses.field(default_factory=dict)

    def design(self, shape, classes):
        size = self.sizes
        fields = {"channel_base": size["base"], "channel_max": size["most"], "dtype": dtype(size)}
        fields |= {"clamp": 256.0 if size["half"] else None}
        latent = {"z_dim": size["latent"], "w_dim": size["latent"], "mapping_layers": size["mapping"]}
        pair = stylegan2.Generator(shape, **latent, **fields), stylegan2.Discriminator(shape, **fields)
        return Design(*pair, game.game(*pair), recipes_stylegan.stylegan2(batch=self.batch))


def settings(name: str, device: str) -> Settings:
    """Of a game, at the size for a device: cpu or gpu."""
    if name == "tutorial":
        return CONFIGS["digits-tutorial"]
    kind, sizes = {"r3gan": (R3, R3GAN[device]), "stylegan2": (Style2, STYLEGAN2[device])}[name]
    return kind(size=(sizes["side"],) * 2, sizes=sizes)


def main() -> None:
    name = sys.argv[1]
    parallel.share_cores(1 if name == "tutorial" else 0, 16, 1)  # as it does for these configs, at 16 images
    compile_cache.use()
    config = settings(name, "cpu" if jax.default_backend() == "cpu" else "gpu")
    serve(f"jax {provenance.versions()['jax']}, {jax.devices()[0].device_kind}", lambda batch: Case(name, config, batch).train)


if __name__ == "__main__":
    main()

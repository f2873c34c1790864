"""Our side of `benchmarks.peers`: the whole step as the trainer runs it, feed and meter included.

`peer_jaxgan.py tutorial` is the config digits-tutorial; `r3gan` and `stylegan2` are these families at the sizes of `peer_sizes`.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.flags import set_flags  # noqa: E402
from jaxgan.memory import keep_freed_memory  # noqa: E402
from jaxgan.parallel import share_cores  # noqa: E402

keep_freed_memory()  # as `experiments.train` does, before there are threads
set_flags()
share_cores(1 if sys.argv[1] == "tutorial" else 0, 16, 1)  # as it does for these configs
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks.peer_sizes import R3GAN, STYLEGAN2  # noqa: E402
from benchmarks.peer_worker import serve  # noqa: E402
from benchmarks.step import Case  # noqa: E402
from experiments.configs import CONFIGS  # noqa: E402
from jaxgan import game, provenance, recipes, recipes_stylegan  # noqa: E402
from jaxgan.models import r3gan, stylegan2  # noqa: E402
from jaxgan.settings import Design, Settings  # noqa: E402

DEVICE = "cpu" if jax.default_backend() == "cpu" else "gpu"


def half(size) -> dict:
    return {"dtype": jnp.bfloat16 if size["half"] else jnp.float32}


@dataclasses.dataclass(frozen=True)
class R3(Settings):
    size: tuple = (R3GAN[DEVICE]["side"],) * 2
    channels: int = 3

    def design(self, shape, classes):
        size = R3GAN[DEVICE]
        fields = {"channels": size["channels"], "cardinality": size["groups"], "blocks": size["blocks"], **half(size)}
        pair = r3gan.Generator(shape, **fields), r3gan.Discriminator(shape, **fields)
        return Design(*pair, game.game(*pair), recipes.r3gan(batch=self.batch, gamma=0.05))


@dataclasses.dataclass(frozen=True)
class Style2(Settings):
    size: tuple = (STYLEGAN2[DEVICE]["side"],) * 2
    channels: int = 3

    def design(self, shape, classes):
        size = STYLEGAN2[DEVICE]
        fields = {"channel_base": size["base"], "channel_max": size["most"], **half(size)}
        fields |= {"clamp": 256.0 if size["half"] else None}
        latent = {"z_dim": size["latent"], "w_dim": size["latent"], "mapping_layers": size["mapping"]}
        pair = stylegan2.Generator(shape, **latent, **fields), stylegan2.Discriminator(shape, **fields)
        return Design(*pair, game.game(*pair), recipes_stylegan.stylegan2(batch=self.batch))


GAMES = {"tutorial": CONFIGS["digits-tutorial"], "r3gan": R3(), "stylegan2": Style2()}


def main() -> None:
    name = sys.argv[1]

    def build(batch: int):
        case = Case(name, GAMES[name], batch)
        return case.train

    serve(f"jax {provenance.versions()['jax']}, {jax.devices()[0].device_kind}", build)


if __name__ == "__main__":
    main()

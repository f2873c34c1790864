"""Official training steps, as `benchmarks.peers` times them: `peer_official.py r3gan|stylegan2 CHECKOUT [channels_last]`.

The networks and the losses are those of the checkout (brownvc/R3GAN, NVlabs/stylegan3); the loop around them, written here,
makes the phases, updates and the weight average of its training loop, without that loop's data loader, its flat copy of the
gradients and its replacement of NaNs. On a CPU its CUDA operations fall back by themselves. `channels_last` is the memory format
that the checkout does not use: R3GAN's whole networks, StyleGAN2's float16 blocks (its own option, `fp16_channels_last`).
"""

import copy
import re
import subprocess
import sys
import types
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from peer_sizes import R3GAN, STYLEGAN2  # noqa: E402
from peer_worker import serve  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KIND = "gpu" if DEVICE == "cuda" else "cpu"
LAST = sys.argv[3:] == ["channels_last"]
BETA = 0.999  # of the weight average; its value does not change the time


def update(player, optimiser, losses) -> None:
    """One phase: `losses` accumulates gradients, then one step of the optimiser."""
    optimiser.zero_grad(set_to_none=True)
    player.requires_grad_(True)
    losses()
    player.requires_grad_(False)
    optimiser.step()


def average(ema, g) -> None:
    with torch.no_grad():
        for a, b in zip(ema.parameters(), g.parameters(), strict=True):
            a.copy_(b.lerp(a, BETA))


def r3gan(batch: int):
    from R3GAN.Networks import Discriminator, Generator
    from R3GAN.Trainer import AdversarialTraining

    size = R3GAN[KIND]
    forth = [list(size[name]) for name in ("channels", "groups", "blocks")]
    back = [values[::-1] for values in forth]
    g, d = Generator(64, *forth, 2).to(DEVICE), Discriminator(*back, 2).to(DEVICE)
    if size["half"]:
        for stage in (*g.MainLayers[1:], *d.MainLayers[:-1]):
            stage.DataType = torch.bfloat16
    x = real_images(batch, size)
    if LAST:
        g, d, x = (a.to(memory_format=torch.channels_last) for a in (g, d, x))
    ema, game = copy.deepcopy(g).eval(), AdversarialTraining(g, d)
    tx = {n: torch.optim.Adam(n.parameters(), 2e-4, (0.0, 0.9), 1e-8) for n in (d, g)}
    noise = lambda: torch.randn(batch, 64, device=DEVICE)

    def run(steps):
        for _ in range(steps):
            update(d, tx[d], lambda: game.AccumulateDiscriminatorGradients(noise(), x, None, 0.05))
            update(g, tx[g], lambda: game.AccumulateGeneratorGradients(noise(), x, None))
            average(ema, g)
        wait()

    return run


def stylegan2(batch: int):
    from torch_utils.ops import conv2d_gradfix
    from training.loss import StyleGAN2Loss
    from training.networks_stylegan2 import Discriminator, Generator

    conv2d_gradfix.enabled = DEVICE == "cuda"
    size = STYLEGAN2[KIND]
    half = {"num_fp16_res": 4, "conv_clamp": 256} if size["half"] else {"num_fp16_res": 0, "conv_clamp": None}
    blocks = {"fp16_channels_last": LAST}
    shape = {"c_dim": 0, "img_resolution": size["side"], "img_channels": 3}
    width = {"channel_base": size["base"], "channel_max": size["most"]}
    mapping = {"num_layers": size["mapping"]}
    latent = {"z_dim": size["latent"], "w_dim": size["latent"]}
    g = Generator(**latent, **shape, **width, **half, **blocks, mapping_kwargs=mapping, fused_modconv_default="inference_only")
    d = Discriminator(**shape, **width, **half, block_kwargs=blocks)
    g, d = g.train().requires_grad_(False).to(DEVICE), d.train().requires_grad_(False).to(DEVICE)
    ema, x, none = copy.deepcopy(g).eval(), real_images(batch, size), torch.zeros(batch, 0, device=DEVICE)
    options = {"r1_gamma": 10.0, "style_mixing_prob": 0.9, "pl_weight": 2.0, "pl_no_weight_grad": True}
    loss = StyleGAN2Loss(torch.device(DEVICE), g, d, **options)
    tx = {n: torch.optim.Adam(n.parameters(), 0.002, (0.0, 0.99), 1e-8) for n in (g, d)}
    phases = (("Gmain", g, 1), ("Greg", g, 4), ("Dmain", d, 1), ("Dreg", d, 16))
    count = [0]

    def run(steps):
        for _ in range(steps):
            for name, player, every in phases:
                if count[0] % every == 0:
                    z = torch.randn(batch, size["latent"], device=DEVICE)
                    part = lambda name=name, z=z, every=every: loss.accumulate_gradients(name, x, none, z, none, every, 0)
                    update(player, tx[player], part)
            average(ema, g)
            count[0] += 1
        wait()

    return run


def stand_in_for_imports() -> None:
    """What the checkouts import and the step does not need: a downloader, and a package that setuptools no longer has."""
    sys.modules.setdefault("requests", types.ModuleType("requests"))
    resources = sys.modules.setdefault("pkg_resources", types.ModuleType("pkg_resources"))
    resources.parse_version = lambda text: tuple(map(int, re.findall(r"\d+", text)[:2]))


def register_plugins() -> None:
    """Their loader imports by name what `torch.utils.cpp_extension.load` made, which torch 2.11 no longer enters as a module."""
    from torch.utils import cpp_extension

    load = cpp_extension.load

    def registered(name, *args, **kwargs):
        sys.modules[name] = load(name, *args, **kwargs)
        return sys.modules[name]

    cpp_extension.load = registered


def real_images(batch: int, size: dict):
    return torch.rand(batch, 3, size["side"], size["side"], device=DEVICE) * 2 - 1


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def build_plugins() -> None:
    """Compile the checkout's CUDA operations, which needs no GPU, while the other sides start."""
    if DEVICE == "cuda":
        from torch_utils.ops import bias_act, upfirdn2d

        bias_act._init()
        upfirdn2d._init()


def commit(checkout: str) -> str:
    """The checkout's, or ''."""
    found = subprocess.run(["git", "-C", checkout, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()


def main() -> None:
    which, checkout = sys.argv[1:3]
    if LAST and which == "stylegan2" and DEVICE == "cpu":
        sys.exit("needs a GPU")
    sys.path.insert(0, checkout)
    stand_in_for_imports()
    register_plugins()
    torch.backends.cudnn.benchmark = True  # as their loops do
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as in XLA; their loops, slower, do not
    build_plugins()
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    about = f"{which} {commit(checkout)}, torch {torch.__version__}, {torch.get_num_threads()} threads, {device}"
    serve(about, {"r3gan": r3gan, "stylegan2": stylegan2}[which])


if __name__ == "__main__":
    main()

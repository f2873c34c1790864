"""Writes api.md, the list of what the modules offer: `python docs/api.py`. A test says when it is out of date."""

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path

from flax import linen as nn

FILE = Path(__file__).with_suffix(".md")
MODELS = (
    "mlp dcgan infogan sngan resnet biggan biggan_deep progan stylegan stylegan2 stylegan3 r3gan gat residual pix2pix cyclegan"
)
METRICS = (
    "frechet kernel manifold inception_score conditional sliced variety memorization modes ssim lpips path equivariance copies"
    " features extraction measure generators protocols contract"
)
GROUPS = {
    "Losses and penalties": "losses penalties attacks",
    "Augmentation": "augment",
    "Optimisers, schedules, weight averages": "optim schedules average",
    "Operations and layers": "ops resample layers spectral equalized attention transformer conditional_norm",
    "Networks": " ".join(f"models.{name}" for name in MODELS.split()),
    "Methods as data": "method terms recipes recipes_classic recipes_stylegan recipes_r3gan recipes_gat recipes_paired"
    " game state step grow",
    "Data": "data",
    "Runs": "settings plan preflight run results status health journal restore backend",
    "Images and latents": "sample latents walk directions invert damage translate",
    "Metrics": " ".join(f"metrics.{name}" for name in METRICS.split()),
    "Explanations": "explain dissect",
    "Watermarks, filters, files": "watermark filters marks watch video convert export onnx_graph",
}
ONLY = {
    "method": ("Verdict", "Game", "Round", "Term", "Phase", "Turn", "Recipe", "alternating", "check"),
    "run": ("start", "train", "build_machine", "Machine", "train_steps"),
    "plan": ("Run", "prepare"),
    "preflight": ("Need", "Pace", "compiled", "timed", "room"),
    "results": ("Result", "read", "find", "differing", "value", "curve", "table", "summary", "draw"),
    "restore": ("Trained", "Critic", "load", "load_discriminator"),
    "status": ("Status", "of"),
    "journal": ("read",),
    "settings": ("Settings", "Design"),
    "damage": ("blur", "lowres", "grey", "noise"),
    "latents": ("Latents", "joined", "draw", "images", "has_styles", "has_noise"),
    "translate": ("translate", "one_way", "Distance", "distance"),
    "watch": ("grid", "write_picture", "write_animation", "draw_curves"),
    "marks": ("facts", "of_picture", "of_comment", "of_arrays"),
    "video": ("write", "read", "about", "About"),
    "backend": ("any_backend",),
    "onnx_graph": ("build",),
    "metrics.contract": ("Estimate", "mean_estimate"),
    "metrics.protocols": ("Protocol", "named"),
}
"""Of modules that are more than a list of pieces, those that are meant for others."""


def names(module) -> list[str]:
    """What a module offers, in the order of its text."""
    name = module.__name__.removeprefix("jaxgan.")
    if name in ONLY:
        return list(ONLY[name])
    if name.startswith("models."):
        return [n for n in vars(module) if n.endswith(("Generator", "Discriminator")) or n == "moved"]
    if hasattr(module, "__all__"):
        return [n for n in module.__all__ if callable(getattr(module, n))]
    made = {n: v for n, v in vars(module).items() if inspect.isfunction(v) or inspect.isclass(v)}
    mine = lambda n: not n.startswith(("_", "check")) and made[n].__module__ == module.__name__ and made[n].__doc__
    return sorted(filter(mine, made), key=lambda n: inspect.getsourcelines(made[n])[1])


def sentence(thing) -> str:
    """The first one of a docstring."""
    paragraph = " ".join(inspect.getdoc(thing).split("\n\n")[0].split())
    said = re.split(r"(?<=[^.][.])\s+(?=[A-Z`\[])", paragraph)[0]
    return said if said.endswith((".", "?")) else said.rstrip(":") + "."


def called(name: str, thing) -> str:
    """As it is called, with the names of its arguments, or fields."""
    if inspect.isclass(thing) and not (dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")):
        return name
    said, bare = [], True
    module = inspect.isclass(thing) and issubclass(thing, nn.Module)
    for p in inspect.signature(thing).parameters.values():
        if module and p.name in ("parent", "name"):  # linen's own
            continue
        if p.kind is p.KEYWORD_ONLY and bare and not any(s.startswith("*") for s in said):
            said.append("*")
        said.append({p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name)
    return f"{name}({', '.join(said)})"


def page() -> str:
    lines = [
        "# What is in the modules",
        "",
        "Made from the docstrings' first sentences by `python docs/api.py`; the whole docstring, with shapes, ranges, errors and",
        "source, by `help(jaxgan.losses.hinge_d)` and so on. Arguments after a * are given by name; a class has its fields.",
    ]
    for group, modules in GROUPS.items():
        lines += ["", f"## {group}"]
        for name in modules.split():
            module = importlib.import_module(f"jaxgan.{name}")
            lines += ["", f"`jaxgan.{name}`: {sentence(module)}", ""]
            for n in names(module):
                thing = getattr(module, n)
                lines.append(f"- `{called(n, thing)}`: {sentence(thing)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(FILE.parents[1]))
    FILE.write_text(page())

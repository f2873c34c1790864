"""Makes r3gan.pkl beside it with real torch (2.13): `python -m tests.golden.make_r3gan_file`. The tests only read the file.

It is laid out as the snapshots of R3GAN's training code: torch modules by plain pickle, under their classes' names, with
the weights of `r3gan_rule`. The classes are empty ones made here; only names, attributes and arrays are in the file.
"""

import pickle
import sys
import types
from pathlib import Path

import torch

from tests.golden import r3gan_rule

CASE = "plain"


def made(dotted, **children):
    """An empty torch module of a class of that name, with children and other attributes."""
    module, _, name = dotted.rpartition(".")
    for package in (module.partition(".")[0], module):
        sys.modules.setdefault(package, types.ModuleType(package))
    place = sys.modules[module]
    if not hasattr(place, name):
        setattr(place, name, type(name, (torch.nn.Module,), {"__module__": module}))
    out = getattr(place, name)()
    for key, child in children.items():
        setattr(out, key, child)
    return out


def network(kind, arrays):
    """The modules of a state dict; all stages but the base's run in bfloat16."""
    stages = {name.split(".")[1] for name in arrays if name.startswith("MainLayers.")}
    low = set(stages) - {"0" if kind == "Generator" else max(stages)}
    root = made(f"R3GAN.Networks.{kind}")
    for name, array in arrays.items():
        *path, leaf = name.split(".")
        at = root
        for depth, part in enumerate(path):
            if part not in at._modules:
                listed = part in ("MainLayers", "Layers")
                child = torch.nn.ModuleList() if listed else made(f"R3GAN.Networks.{part if not part.isdigit() else 'Layer'}")
                if depth == 1 and path[0] == "MainLayers":
                    child.DataType = torch.bfloat16 if part in low else torch.float32
                at.add_module(part, child)
            at = at._modules[part]
        if leaf == "Kernel":
            at.register_buffer(leaf, torch.tensor(array))
        else:
            at.register_parameter(leaf, torch.nn.Parameter(torch.tensor(array), requires_grad=False))
    return root.eval()


def snapshot():
    fields = r3gan_rule.CASES[CASE]
    z_dim, side = fields["z_dim"], 4 << (len(fields["channels"]) - 1)
    g, d = network("Generator", r3gan_rule.generator(**fields)), network("Discriminator", r3gan_rule.discriminator(**fields))
    known = {"c_dim": fields["classes"], "img_resolution": side}
    return {
        "G_ema": made("training.networks.Generator", Model=g, z_dim=z_dim, **known),
        "D": made("training.networks.Discriminator", Model=d),
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "resolution": side},
        "cur_nimg": 1000,
    }


if __name__ == "__main__":
    with open(Path(__file__).parent / "r3gan.pkl", "wb") as file:
        pickle.dump(snapshot(), file)

"""A run's config.json: what it says, and how it is compared with an earlier one and with those of other processes."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from jaxgan import description, parallel, provenance, transfer
from jaxgan.data import Source
from jaxgan.errors import UserError, printable
from jaxgan.settings import WHERE, Design, Settings
from jaxgan.whole import write_whole


def described(
    name: str, settings: Settings, stages: tuple[Design, ...], source: Source, start: transfer.Start | None
) -> dict[str, Any]:
    """What `config.json` says, as JSON gives it back."""
    networks = lambda s: {who: description.describe(getattr(s, who)) for who in ("generator", "discriminator")}
    config = {
        "jaxgan": provenance.versions()["jaxgan"],
        "config": name,
        "settings": dataclasses.asdict(settings),
        "data": {
            "name": source.name,
            "images": source.n,
            "shape": list(source.shape),
            "inputs": list(source.inputs.shape) if source.inputs is not None else None,
            "classes": source.classes,
            "class_names": list(source.class_names) if source.classes else [],
            "fingerprint": source.fingerprint,
            "skipped": list(source.skipped),
        },
        "init": start and {"path": settings.init, "said": start.said, "digest": start.digest},
        **networks(stages[-1]),
        "stages": [{"start_kimg": s.start_kimg, **networks(s)} for s in stages],
        "recipe": description.of_recipe(stages[-1].recipe),
        "random": f"{jax.config.jax_default_prng_impl}{' partitionable' * jax.config.jax_threefry_partitionable}",
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    return description.as_json(config)


def write(directory: Path, config: dict[str, Any]) -> None:
    """Make the run directory and its config.json. Raises UserError where that cannot be."""
    path, text = directory / "config.json", (json.dumps(config, indent=2) + "\n").encode()
    try:
        if not path.exists() or path.read_bytes() != text:
            write_whole(path, lambda file: file.write(text), sync=True)
    except OSError as e:
        raise UserError(f"--run-dir {directory}: it cannot be written ({e.strerror}); give another --run-dir") from e


def check_changes(directory: Path, found: dict[str, Any], config: dict[str, Any], settings: Settings) -> None:
    """UserError where a run cannot go on with another config; where it is told to, what differs is said."""
    defaults = {f.name: f.default for f in dataclasses.fields(settings) if f.default is not dataclasses.MISSING}
    older = description.as_json(defaults) | found["settings"]  # without a setting, the code did what is its default now
    changed = changes(found | {"settings": older}, config)
    if (was := found["settings"].get("batch", settings.batch)) != settings.batch:
        raise UserError(
            f"--batch {settings.batch}: {directory} counts its progress in steps of {was} images; give --batch {was}, or "
            "another --run-dir"
        )
    began, given = found["settings"].get("init"), config["settings"].get("init")
    if bool(began) != bool(given):  # a config may have other schedules where it starts from trained networks
        said = f"{directory} began from {began}: give --init {began} too, which is not read again"
        said = said if began else f"--init {given}: {directory} did not begin from trained networks; leave it out"
        raise UserError(f"{said}, or give another --run-dir")
    if changed and settings.resume != "force":
        said = "; ".join(changed[:8]) + f"; and {len(changed) - 8} more" * (len(changed) > 8)
        raise UserError(
            f"{directory} holds a run of another config: {said}. Give another --run-dir, or "
            "--resume force to resume with the changed config"
        )
    for change in changed if parallel.is_main() else ():
        late = ", not read: the weights are in the checkpoint" if change.startswith("init was ") else ""
        print(printable(f"resuming with a changed config: {change}{late}"))


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two configs in what they compute, field by field; where no setting does, what the code has changed of
    the recipe."""

    def content(data):
        return f"{data['images']} images ({data['fingerprint']})" if "images" in data else data["fingerprint"]

    def flat(config):
        settings = {k: v for k, v in config["settings"].items() if k not in WHERE}
        parts = {"config": config["config"], **settings, "data": content(config["data"])}
        parts |= {"JAX's random numbers": config["random"]} if "random" in old else {}  # an older config does not say
        models = {f"{who}.{k}": v for who in ("generator", "discriminator") for k, v in config[who].items()}
        return flatten_dict(parts | models, sep=".")

    def differing(a, b):
        keys = [k for k in {**a, **b} if a.get(k) != b.get(k) and (a.get(k), b.get(k)) != (None, [])]
        return [f"{k} was {a.get(k)}, is {b.get(k)}" for k in keys]

    # An older config lacks some fields, and the recipe.
    return differing(flat(old), flat(new)) or ("recipe" in old and differing(old["recipe"], new["recipe"])) or []


OWN = ("run_dir", "data", "target", "data_dir", "init", "compile_cache", "coordinator", "process")
"""Settings that each process of several may have its own of: they say where things are."""


def shared(config: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in all processes of a run, by names for people."""
    settings = {f"--{k.replace('_', '-')}": v for k, v in config["settings"].items() if k not in OWN}
    data = {f"data's {k}": v for k, v in config["data"].items() if k != "name"}
    packages = {f"version of {k}": v for k, v in config["versions"].items() if k != "python"}
    networks = {who: config[who] for who in ("generator", "discriminator", "stages")}
    init = (config["init"] or {}).get("digest")
    rest = {"--init's weights": init, "code of jaxgan": provenance.code(), "number of devices": jax.local_device_count()}
    rest["JAX's random numbers"] = config["random"]
    return {"config": config["config"], **settings, **data, **packages, **networks, **rest}


def check_alike(said: list[str]) -> None:
    """UserError where the processes of a run, of which each says its `shared`, would not train the same."""
    first, *others = map(json.loads, said)
    for i, other in enumerate(others, 1):
        if wrong := [k for k in {**first, **other} if first.get(k) != other.get(k)]:
            short = lambda value: f"{value!r:.60}" if not isinstance(value, dict | list) else "another"
            said = "; ".join(f"{k} is {short(other.get(k))}, not {short(first.get(k))}" for k in wrong[:4])
            raise UserError(f"process {i} differs from process 0: {said}; give all the same data, command and versions")


def check_processes(config: dict[str, Any]) -> None:
    """UserError, in all processes of a run, where one of them was given something else."""
    if jax.process_count() > 1:
        said = json.dumps(shared(config))
        check_alike(parallel.all_told(re.sub(r"\b0x[0-9a-f]{6,}", "", said)))  # addresses, in what a field of any type shows

"""`python -m experiments.export RUN [--out generator.stablehlo]`: a trained generator as one file, for JAX or ONNX Runtime."""

import dataclasses
from pathlib import Path

from experiments.cli import OfRun, check_out, parse, run_command, writing
from jaxgan.errors import UserError, printable


@dataclasses.dataclass(frozen=True)
class Arguments(OfRun):
    """Export the generator with its weights, for any batch size: as a StableHLO program for JAX, or for ONNX Runtime."""

    out: str = "generator.stablehlo"
    """The file: a .stablehlo is run by JAX, on CPU, GPU and TPU; an .onnx (which needs `pip install "jaxgan[onnx]"`) by ONNX
    Runtime, on phones and web pages too; a .safetensors holds only the weights, for jaxgan.load and other libraries."""
    reverse: bool = False
    """CycleGAN: export the direction from B to A instead of A to B; a .safetensors holds both."""
    platforms: tuple[str, ...] = ("cpu", "cuda", "rocm", "tpu")
    """Platforms that a .stablehlo can run on."""


JAX = """{out}: {size}. To use it:

    import jax
    call = jax.export.deserialize(bytearray(open({name!r}, "rb").read())).call
{more}    images = call({arguments})  # uint8 {shape}
"""


ONNX = """{out}: {size}. To use it:

    import numpy as np, onnxruntime
    session = onnxruntime.InferenceSession({name!r})
{more}    (images,) = session.run(None, {{{arguments}}})  # uint8 {shape}
"""


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.export", examples=("runs/digits --out digits.stablehlo",))
    out = Path(args.out)
    check_out(args.out, ".stablehlo", ".onnx", ".safetensors")
    if out.resolve() == Path(args.run).resolve():
        raise UserError(f"--out {args.out} is the input file; give another")
    kind = out.suffix.lower()
    weights = kind == ".safetensors"
    if kind != ".stablehlo" and args.platforms != Arguments("").platforms:
        why = "a .safetensors holds only weights" if weights else "an .onnx runs wherever ONNX Runtime does"
        raise UserError(f"--platforms {' '.join(args.platforms)}: {why}; leave it out")
    from jaxgan import convert, export
    from jaxgan.memory import size
    from jaxgan.whole import write_whole

    trained = args.load()
    if args.reverse and weights:
        raise UserError("--reverse: a .safetensors holds both directions; leave it out")
    trained = trained if weights else trained.one_way(args.reverse)
    generator, data = trained.generator, b""
    if kind == ".onnx":
        data = export.export_onnx(generator, trained.variables)
    elif not weights:
        data = export.export_generator(generator, trained.variables, platforms=args.platforms)
    with writing(args.out):
        if weights:
            out.parent.mkdir(parents=True, exist_ok=True)
            convert.save_safetensors(out, generator, trained.variables)
        else:
            write_whole(out, lambda file: file.write(data))
    if weights:
        use = "sample(64)" if generator.z_dim else "translate(sources)"
        use = use if trained.vectors is None else "sample(64, label=vectors)"  # the data's are kept with the run alone
        print(f"{out}: {size(out.stat().st_size)}; jaxgan.load({str(out)!r}).{use}")
        return
    more, given = (_for_onnx if kind == ".onnx" else _for_jax)(trained)
    shape = f"[n, {', '.join(map(str, generator.shape))}]"
    said = {"out": out, "size": size(len(data)), "name": str(out), "more": more, "arguments": given, "shape": shape}
    print((ONNX if kind == ".onnx" else JAX).format(**said), end="")


def _for_jax(trained):
    """(lines before the call, its arguments) of a program that draws 64 images."""
    from jaxgan import latents

    generator, more = trained.generator, ""
    if not generator.z_dim:
        return _sources(generator), "sources"
    given = [f"jax.random.normal(jax.random.key(0), (64, {generator.z_dim}))"]
    if generator.classes and trained.vectors is None:
        more = f"    labels = jax.numpy.arange(64) % {generator.classes}{_classes(trained)}\n"
        given.append(f"jax.nn.one_hot(labels, {generator.classes})")
    elif generator.classes:
        more = _vectors(generator)
        given.append("vectors")
    return more, ", ".join([*given, *["jax.numpy.float32(1.0)"] * latents.has_styles(generator)])


def _for_onnx(trained):
    """The same, in NumPy."""
    from jaxgan import latents

    generator = trained.generator
    if not generator.z_dim:
        return _sources(generator), '"source": sources'
    more = f"    z = np.random.default_rng(0).standard_normal((64, {generator.z_dim}), np.float32)\n"
    given = ['"z": z']
    if generator.classes and trained.vectors is None:
        more += f"    labels = np.arange(64) % {generator.classes}{_classes(trained)}\n"
        given.append(f'"c": np.eye({generator.classes}, dtype=np.float32)[labels]')
    elif generator.classes:
        more += _vectors(generator)
        given.append('"c": vectors')
    return more, ", ".join([*given, *['"psi": np.array(1, np.float32)'] * latents.has_styles(generator)])


def _sources(generator):
    source = ", ".join(map(str, (*generator.shape[:2], generator.source_channels)))
    return f"    sources = ...  # your own, uint8 [n, {source}]\n"


def _vectors(generator):
    return f"    vectors = ...  # your own, float32 [64, {generator.classes}]\n"


def _classes(trained):
    names = printable(", ".join(trained.config.get("data", {}).get("class_names", [])[:20]))  # no line of code
    return f"{'  # of ' * bool(names)}{names}"


if __name__ == "__main__":
    run_command(main)

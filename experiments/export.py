"""`python -m experiments.export RUN [--out generator.stablehlo]`: a trained generator as one file that needs only JAX."""

import dataclasses
from pathlib import Path

from experiments.cli import OfRun, check_out, parse, run_command, writing
from jaxgan.errors import UserError, printable


@dataclasses.dataclass(frozen=True)
class Arguments(OfRun):
    """Export the generator with its weights as a StableHLO program, for any batch size, on CPU, GPU and TPU."""

    out: str = "generator.stablehlo"
    """The file; a .safetensors holds only the weights, for jaxgan.load and other libraries."""
    reverse: bool = False
    """CycleGAN: export the direction from B to A instead of A to B; a .safetensors holds both."""
    platforms: tuple[str, ...] = ("cpu", "cuda", "rocm", "tpu")
    """Platforms that it can run on."""


USE = """{out}: {size:.1f} MB. To use it:

    import jax
    call = jax.export.deserialize(bytearray(open({name!r}, "rb").read())).call
{more}    images = call({arguments})  # uint8 {shape}
"""


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.export", examples=("runs/digits --out digits.stablehlo",))
    out = Path(args.out)
    check_out(args.out, ".stablehlo", ".safetensors")
    if out.resolve() == Path(args.run).resolve():
        raise UserError(f"--out {args.out} is the input file; give another")
    weights = out.suffix.lower() == ".safetensors"
    if weights and args.platforms != Arguments("").platforms:
        raise UserError(f"--platforms {' '.join(args.platforms)}: a .safetensors holds only weights; leave it out")
    from jaxgan import convert, export, latents
    from jaxgan.whole import write_whole

    trained = args.load()
    if args.reverse and weights:
        raise UserError("--reverse: a .safetensors holds both directions; leave it out")
    trained = trained if weights else trained.one_way(args.reverse)
    generator = trained.generator
    data = b"" if weights else export.export_generator(generator, trained.variables, platforms=args.platforms)
    with writing(args.out):
        if weights:
            out.parent.mkdir(parents=True, exist_ok=True)
            convert.save_safetensors(out, generator, trained.variables)
        else:
            write_whole(out, lambda file: file.write(data))
    if weights:
        use = "sample(64)" if generator.z_dim else "translate(sources)"
        use = use if trained.vectors is None else "sample(64, label=vectors)"  # the data's are kept with the run alone
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; jaxgan.load({str(out)!r}).{use}")
        return
    size, more = ", ".join(map(str, generator.shape)), ""
    if generator.z_dim:
        given = [f"jax.random.normal(jax.random.key(0), (64, {generator.z_dim}))"]
        if generator.classes and trained.vectors is None:
            names = printable(", ".join(trained.config.get("data", {}).get("class_names", [])[:20]))  # no line of code
            more = f"    labels = jax.numpy.arange(64) % {generator.classes}{'  # of ' * bool(names)}{names}\n"
            given.append(f"jax.nn.one_hot(labels, {generator.classes})")
        elif generator.classes:
            more = f"    vectors = ...  # your own, float32 [64, {generator.classes}]\n"
            given.append("vectors")
        given += ["jax.numpy.float32(1.0)"] * latents.has_styles(generator)
    else:
        source = ", ".join(map(str, (*generator.shape[:2], generator.source_channels)))
        more, given = f"    sources = ...  # your own, uint8 [n, {source}]\n", ["sources"]
    said = {"arguments": ", ".join(given), "more": more, "shape": f"[n, {size}]"}
    print(USE.format(out=out, size=len(data) / 1e6, name=str(out), **said), end="")


if __name__ == "__main__":
    run_command(main)

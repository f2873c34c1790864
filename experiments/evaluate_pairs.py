"""`python -m experiments.evaluate RUN` for a run on pairs: how far its images are from their targets."""

import json
from pathlib import Path

import numpy as np

from experiments.cli import writing
from jaxgan import restore, translate, watch
from jaxgan.data import Source, open_pairs, shuffled
from jaxgan.errors import UserError


def evaluate(args, config: dict) -> None:
    """Print L1 and PSNR of a run, with --metrics those too, and add them to metrics.jsonl.

    Args:
      args: `experiments.evaluate.Arguments`.
      config: the run's config.json.
    Raises:
      UserError: pairs that are not there or not the run's, an unknown metric.
    """
    from experiments.evaluate import show
    from jaxgan.metrics import lpips, protocols
    from jaxgan.metrics.contract import mean_estimate
    from jaxgan.metrics.measure import Result, as_json, measure, ready

    chosen = protocols.named(args.metrics)
    names = tuple(name for name, p in chosen.items() if p.needs != "pairs")
    protocols.only({name: chosen[name] for name in names}, "images")
    if args.psi != 1:
        raise UserError(f"--psi {args.psi:g}: this run makes images from images; leave it out")
    trained = restore.load(args.what, checkpoint_step=args.checkpoint, average=args.average)
    update, close = watch.counter("reading images", True)
    source, index, which = pairs(args, config, update)
    close()
    index = index[: args.n] if args.n else index
    inputs = source.inputs
    wanted = (*trained.generator.shape, trained.generator.source_channels)
    if (*source.shape, inputs.shape[2]) != wanted:
        raise UserError(f"{source.name}: its pairs are {source.shape} from {inputs.shape}; the run's {wanted}")
    perceptual = None
    if len(names) < len(chosen):
        lpips.check(source.shape)
        perceptual = lpips.load(args.lpips or None)
    made = translate.of_source(trained.generator, trained.variables, inputs, index, seed=args.seed)
    fakes = np.concatenate(list(made))
    found = translate.distance(source.read(index), fakes)
    print(f"psnr {found.psnr:.2f} dB, l1 {found.l1:.2f} grey levels: {len(index)} {which} of {source.name}")
    lines = [{"metric": "pairs", **found._asdict(), "fakes": len(index), "which": which}]
    results = []
    if perceptual is not None:
        value = mean_estimate(lpips.of_sets(perceptual, source.read(index), fakes))
        results.append(Result("lpips", {"": value}, len(index), len(index)))
    if names:
        weights = {k: v for k, v in {"inception": args.inception, "dinov2": args.dinov2}.items() if v}
        results += measure(ready(names, source, weights=weights), iter([fakes]), limit=len(fakes))
    if results:
        show(results, chosen, f"against {len(index)} {which} of {source.name}")
    lines += [as_json(r, chosen[r.name]) for r in results]
    out = Path(args.out) if args.out else Path(args.what) / "metrics.jsonl"
    of = {"of": {"run": args.what, "step": trained.step, "average": args.average}, "against": source.name}
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a") as f:
            f.writelines(json.dumps(line | of) + "\n" for line in lines)


def pairs(args, config: dict, update) -> tuple[Source, np.ndarray, str]:
    """The pairs, which of them to take, and what these are: those the run held out, or all of another set or split."""
    from experiments.evaluate import changed

    run = config["settings"]
    if args.against and run["target"]:
        raise UserError("--against: this run's pairs come from two folders; leave it out, or give --split")
    said = {"data": args.against, "split": args.split, "data_dir": args.data_dir, "size": args.size}
    now = run | {name: value for name, value in said.items() if value}
    names = ("target", "side_by_side", "degrade", "source_channels")
    names += ("data_dir", "split", "size", "channels", "background", "skip_broken")
    source = open_pairs(now["data"], **{name: now[name] for name in names}, progress=update)
    if args.against or args.split or not run["hold_out"]:
        return source, np.arange(source.n), "pairs"
    same = not changed(config, source)
    source = shuffled(source, run["seed"])  # as the run did
    if not same:
        print(f"note: {source.name} has changed since the run was trained on it: it may have seen these pairs")
    which = "held-out pairs" if same else "pairs"
    return source, translate.held_out(source, run["hold_out"], source.n, run["seed"]), which


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.evaluate RUN")

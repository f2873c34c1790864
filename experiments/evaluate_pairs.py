"""`python -m experiments.evaluate RUN` for a run on pairs: how far its images are from their targets.

Of unpaired images (CycleGAN): how far what either direction makes is, as a set, from the real images; how far, translated back,
from where it came from; and, where that is known, from what it should be.
"""

import numpy as np

from jaxgan import restore, translate, watch
from jaxgan.data import Source, open_pairs, open_unpaired, shuffled
from jaxgan.data.images import with_channels
from jaxgan.errors import UserError
from jaxgan.metrics.sliced import sliced_wasserstein
from jaxgan.settings import made_alike


def evaluate(args, config: dict) -> None:
    """Print L1 and PSNR of a run, or what `both_ways` measures, with --metrics those too, and add them to metrics.jsonl.

    Args:
      args: `experiments.evaluate.Arguments`.
      config: the run's config.json.
    Raises:
      UserError: pairs that are not there or not the run's, an unknown metric.
    """
    from experiments.evaluate import drawn_by, show, write
    from jaxgan.metrics import generators, lpips, protocols
    from jaxgan.metrics.contract import mean_estimate
    from jaxgan.metrics.measure import Result, as_json, check_labels, measure, ready

    chosen = protocols.named(args.metrics)
    names = tuple(name for name, p in chosen.items() if p.needs != "pairs")
    check_labels(chosen, False, args.what)
    if args.psi != 1:
        raise UserError(f"--psi {args.psi:g}: this run makes images from images; leave it out")
    trained = restore.load(args.what, checkpoint=args.checkpoint, average=args.average)
    generators.check({name: p for name, p in chosen.items() if p.needs == "generator"}, trained.generator)
    unpaired = translate.two_way(trained.generator)
    if args.reverse and not unpaired:
        raise UserError("--reverse: this run translates one way only; leave it out")
    with watch.counter("reading images") as update:
        source, index, which = pairs(args, config, update, open_unpaired if unpaired else open_pairs)
    index = index[: args.n] if args.n else index
    inputs = source.inputs
    wanted = (*trained.generator.shape, trained.generator.source_channels)
    if (*source.shape, inputs.shape[2]) != wanted:
        raise UserError(f"{source.name}: its pairs are {source.shape} from {inputs.shape}; the run's {wanted}")
    perceptual = lpips_weights(args, source) if len(names) < len(chosen) else None
    made = translate.of_source(trained.generator, trained.variables, inputs, index, seed=args.seed)
    fakes, real, way, results = np.concatenate(list(made)), source, {}, []
    if unpaired:
        lines = [line | {"fakes": len(index), "which": which} for line in both_ways(trained, source, index, fakes)]
        print(f"of {len(index)} {which} of {source.name}:")
        for line in lines:
            print("  " + said(line))
        fakes, real = translate.halves(fakes)[not args.reverse], source.sides[not args.reverse]
        targets = source.truth and translate.halves(source.truth.read(index))[not args.reverse]
        way = {"direction": lines[args.reverse]["direction"]}
    else:
        targets = source.read(index)
        found, before = translate.distance(targets, fakes), untranslated(inputs.read(index), targets)
        told = "".join(f" (the sources themselves: psnr {far.psnr:.2f} dB, l1 {far.l1:.2f})" for far in before)
        print(f"psnr {found.psnr:.2f} dB, l1 {found.l1:.2f} grey levels{told}: {len(index)} {which} of {source.name}")
        lines = [{"metric": "pairs", **found._asdict(), "fakes": len(index), "which": which}]
        lines[0] |= {f"{name}_before": value for far in before for name, value in far._asdict().items()}
    if perceptual is not None:
        value = mean_estimate(lpips.of_sets(perceptual, targets, fakes))
        results.append(Result("lpips", {"": value}, len(index), len(index)))
    if names:
        weights = {k: v for k, v in {"inception": args.inception, "dinov2": args.dinov2}.items() if v}
        results += measure(ready(names, real, weights=weights), iter([fakes]), limit=len(fakes))
    if results:
        which = "images" if names else which
        show(results, chosen, f"against {real.n if names else len(index)} {which} of {real.name}")
    lines += [as_json(r, chosen[r.name]) | way for r in results]
    split = args.split or config["settings"]["split"]
    against = {"of": drawn_by(args, trained), "against": source.name, "split": split, "fingerprint": source.fingerprint}
    write(args, [line | against for line in lines])


def untranslated(sources: np.ndarray, targets: np.ndarray) -> list[translate.Distance]:
    """How far the sources themselves are from their targets, grey as RGB; none where they have channels that targets have not."""
    if sources.shape[3] > targets.shape[3]:
        return []
    return [translate.distance(targets, with_channels(sources, targets.shape[3]))]


def lpips_weights(args, source: Source):
    """LPIPS's weights. UserError where the set has no targets, or images that LPIPS does not take, or the files are missing."""
    from jaxgan.metrics import lpips

    if source.sides and not source.truth:
        raise UserError("lpips: it compares images with their targets, and those of two sets are not known; leave it out")
    lpips.check(source.sides[0].shape if source.sides else source.shape)
    return lpips.load(args.lpips or None)


def both_ways(trained: restore.Trained, source: Source, index: np.ndarray, fakes: np.ndarray) -> list[dict]:
    """What there is to say of unpaired images and of what was made of them: A to B, then B to A.

    swd: the sliced Wasserstein distance to as many real ones, and swd_before that of the images before they are translated.
    cycle_psnr: how near they are, translated back, to where they came from. psnr, l1, psnr_before: to what they should be, where
    that is known; swd_true: how far this, of other images than the real ones, is from them.
    """
    given, truth = source.inputs.read(index), source.truth and source.truth.read(index)
    back = translate.translate(trained.generator, trained.variables, fakes)
    sides = translate.halves(given)
    lines = []
    for reverse, (before, real) in enumerate((sides, sides[::-1])):
        made, again = translate.halves(fakes)[not reverse], translate.halves(back)[reverse]
        line = {"metric": "unpaired", "direction": "b to a" if reverse else "a to b"}
        line |= {"swd": sliced_wasserstein(real, made), "swd_before": sliced_wasserstein(real, before)}
        line |= {"cycle_psnr": translate.distance(before, again).psnr}
        if truth is not None:
            true = translate.halves(truth)[not reverse]
            line |= translate.distance(true, made)._asdict() | {"psnr_before": translate.distance(true, before).psnr}
            line |= {"swd_true": sliced_wasserstein(real, true)}
        lines.append(line)
    return lines


def said(line: dict) -> str:
    """A line of `both_ways` for people."""
    text = "{direction}: sliced Wasserstein {swd:.2f}, untranslated {swd_before:.2f}; there and back psnr {cycle_psnr:.2f} dB"
    known = "; to the true partners psnr {psnr:.2f} dB, l1 {l1:.2f} grey levels, untranslated psnr {psnr_before:.2f} dB; their "
    return (text + (known + "sliced Wasserstein {swd_true:.2f}") * ("psnr" in line)).format(**line)


def pairs(args, config: dict, update, opened) -> tuple[Source, np.ndarray, str]:
    """The pairs, which of them to take, and what these are: those the run held out, or all of another set or split."""
    from experiments.evaluate import changed

    run = config["settings"]
    if args.against and run["target"]:
        raise UserError("--against: this run's images come from two sets; leave it out, or give --split")
    other = {"data": args.against, "split": args.split, "data_dir": args.data_dir, "size": args.size}
    now = run | {name: value for name, value in other.items() if value}
    now |= {"hold_out": 0} if args.against or args.split else {}
    names = ("hold_out", "seed") if opened is open_unpaired else ("side_by_side", "source_channels")
    names += ("target", "degrade", "data_dir", "split", "size", "channels", "skip_broken")
    source = opened(now["data"], **{name: now[name] for name in names}, **made_alike(run), progress=update)
    if not now["hold_out"]:
        return source, np.random.RandomState(0).permutation(source.n), "pairs"  # the first may all be of one class
    same = not changed(config, source)
    source = shuffled(source, run["seed"])  # as the run did
    if not same:
        print(f"note: {source.name} has changed since the run was trained on it: it may have seen these pairs")
    which = "held-out pairs" if same else "pairs"
    return source, translate.held_out(source, run["hold_out"], source.n, run["seed"]), which


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.evaluate RUN")

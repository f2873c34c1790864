"""`python -m experiments.evaluate RUN [--data A --target B]` for a run that makes images from images.

Without --data on the images that it held out.

Of pairs (pix2pix): how far its images are from their targets. Of two sets (CycleGAN): how far what either direction makes is, as
a set, from the real images; how far, translated back, from where it came from; and, where that is known, from what it should be.
"""

from typing import NamedTuple

import numpy as np

from jaxgan import restore, translate, watch
from jaxgan.data import Source, open_pairs, open_unpaired, shuffled
from jaxgan.data.images import with_channels
from jaxgan.errors import UserError
from jaxgan.metrics.sliced import sliced_wasserstein
from jaxgan.settings import made_alike


class Made(NamedTuple):
    """What a run makes of images, and what is known of that."""

    lines: list[dict]
    """Of metrics.jsonl."""
    fakes: np.ndarray
    targets: np.ndarray | None
    """What they should be, where it is known."""


def evaluate(args, config: dict) -> None:
    """Print what `pairwise` or `both_ways` measures, with --metrics those too, and add it to metrics.jsonl.

    Args:
      args: `experiments.evaluate.Arguments`.
      config: the run's config.json.
    Raises:
      UserError: images that are not there or not as the run's, an unknown metric, one of targets that are not known.
    """
    from experiments.evaluate import drawn_by, show, write
    from jaxgan.metrics import generators, protocols
    from jaxgan.metrics.measure import as_json, check_labels, measure, ready

    chosen = protocols.named(args.metrics)
    names = tuple(name for name, p in chosen.items() if p.needs != "pairs")
    check_labels(chosen, False, args.what)
    trained = restore.load(args.what, checkpoint=args.checkpoint, average=args.average)
    check(args, config["settings"], translate.two_way(trained.generator))
    generators.check({name: p for name, p in chosen.items() if p.needs == "generator"}, trained.generator)
    with watch.counter("reading images") as update:
        source, held, which = images(args, config, trained.generator, update)
    trained = fitted(trained if source.sides else trained.one_way(args.reverse), source, args.size)
    to_targets = [measured(name, args, source) for name, p in chosen.items() if p.needs == "pairs"]
    real = source.sides[not args.reverse] if source.sides else source
    weights = {"inception": args.inception, "dinov2": args.dinov2}
    meter = ready(names, real, weights=weights) if names else None  # what is missing is said before anything is made
    made = (both_ways if source.sides else pairwise)(args, trained, source, held, which)
    results = [compare(made.targets, made.fakes) for compare in to_targets]
    if meter:
        results += measure(meter, iter([made.fakes]), limit=len(made.fakes))
    if results:
        against = f"{real.n} images" if names else f"{len(made.fakes)} {which}"
        show(results, chosen, f"against {against} of {real.name}")
    way = {"direction": made.lines[args.reverse]["direction"]} if source.sides else {}
    lines = made.lines + [as_json(r, chosen[r.name]) | way for r in results]
    split = args.split or config["settings"]["split"]
    against = {"of": drawn_by(args, trained), "against": source.name, "split": split, "fingerprint": source.fingerprint}
    write(args, [line | against for line in lines])


def check(args, run: dict, two: bool) -> None:
    """UserError for options that this run has no meaning for. run: its settings; two: it translates both ways."""
    if args.psi != 1:
        raise UserError(f"--psi {args.psi:g}: this run makes images from images; leave it out")
    if args.against:
        raise UserError(f"--against: this run makes images from images; give these as --data {args.against}, as in training")
    if args.reverse and not two:
        raise UserError("--reverse: this run translates one way only; leave it out")
    if args.target and not args.data:
        raise UserError(f"--target {args.target}: give --data too, the images that they are the targets of")
    if args.data and run.get("target") and not args.target:
        raise UserError(f"--data {args.data}: this run's images come from two sets, as its --target says; give --target too")
    if args.paired and not (two and args.target):
        raise UserError("--paired: of CycleGAN's runs, with --data and --target; leave it out")


def pairwise(args, trained: restore.Trained, source: Source, held: int, which: str) -> Made:
    """How far what is made of source images is from their targets, as PSNR and L1; and how far the sources themselves are."""
    index = chosen(source.n, held, args.n)
    made = translate.of_source(trained.generator, trained.variables, source.inputs, index, seed=args.seed)
    fakes, targets = np.concatenate(list(made)), source.read(index)
    found, before = translate.distance(targets, fakes), untranslated(source.inputs.read(index), targets)
    told = "".join(f" (the sources themselves: psnr {far.psnr:.2f} dB, l1 {far.l1:.2f})" for far in before)
    print(f"psnr {found.psnr:.2f} dB, l1 {found.l1:.2f} grey levels{told}: {len(index)} {which} of {source.name}")
    line = {"metric": "pairs", **found._asdict(), "fakes": len(index), "which": which}
    line |= {f"{name}_before": value for far in before for name, value in far._asdict().items()}
    return Made([line], fakes, targets)


def both_ways(args, trained: restore.Trained, source: Source, held: int, which: str) -> Made:
    """What there is to say of two sets and of what is made of them: A to B, then B to A; --reverse says which is returned.

    swd: the sliced Wasserstein distance to the real ones, and swd_before that of the images before they are translated.
    cycle_psnr: how near they are, translated back, to where they came from. psnr, l1, psnr_before: to what they should be, where
    that is known; swd_true: how far this, of other images than the real ones, is from them.
    """
    sets = [translate.one_set(source, held, second) for second in (False, True)]
    index = [chosen(one.n, held, args.n) for one in sets]
    given, lines, found = [one.read(i) for one, i in zip(sets, index, strict=True)], [], []
    for reverse, (before, real) in enumerate((given, given[::-1])):
        made = trained.translate(before, reverse=bool(reverse))
        again = trained.translate(made, reverse=not reverse)
        line = {"metric": "unpaired", "direction": "b to a" if reverse else "a to b"}
        line |= {"swd": sliced_wasserstein(real, made), "swd_before": sliced_wasserstein(real, before)}
        line |= {"cycle_psnr": translate.distance(before, again).psnr}
        true = None if sets[reverse].inputs is None else sets[reverse].inputs.read(index[reverse])
        if true is not None:
            line |= translate.distance(true, made)._asdict() | {"psnr_before": translate.distance(true, before).psnr}
            line |= {"swd_true": sliced_wasserstein(real, true)}
        lines.append(line | {"fakes": len(made), "which": which})
        found.append((made, true))
    print(f"of {len(given[0])} and {len(given[1])} {which} of {source.name}:")
    for line in lines:
        print("  " + said(line))
    return Made(lines, *found[args.reverse])


def chosen(n: int, held: int, most: int) -> np.ndarray:
    """Numbers of the images to take, up to `most` unless it is 0: of all in any order, as the first may be of one class."""
    order = np.arange(n - held, n) if held else np.random.RandomState(0).permutation(n)
    return order[:most] if most else order


def untranslated(sources: np.ndarray, targets: np.ndarray) -> list[translate.Distance]:
    """How far the sources themselves are from their targets, grey as RGB; none where they have channels that targets have not."""
    if sources.shape[3] > targets.shape[3]:
        return []
    return [translate.distance(targets, with_channels(sources, targets.shape[3]))]


def measured(name: str, args, source: Source):
    """The metric of pairs of that name: (targets, fakes) -> Result. UserError where the targets are not known, or are images that
    it does not take, or weights are missing."""
    from jaxgan.metrics import lpips, ssim
    from jaxgan.metrics.contract import mean_estimate
    from jaxgan.metrics.measure import Result

    if source.sides and not source.truth:
        told = "; where names tell them, give --paired with --data and --target" if not args.paired else ""
        raise UserError(f"{name}: it compares images with their targets, and those of two sets are not known{told}")
    shape = source.sides[0].shape if source.sides else source.shape
    {"lpips": lpips, "ssim": ssim}[name].check(shape)
    weights = lpips.load(args.lpips or None) if name == "lpips" else None
    each = {"lpips": lambda *pair: lpips.of_sets(weights, *pair), "ssim": ssim.ssim}[name]
    return lambda targets, fakes: Result(name, {"": mean_estimate(each(targets, fakes))}, len(fakes), len(targets))


def said(line: dict) -> str:
    """A line of `both_ways` for people."""
    text = "{direction}: sliced Wasserstein {swd:.2f}, untranslated {swd_before:.2f}; there and back psnr {cycle_psnr:.2f} dB"
    known = "; to the true partners psnr {psnr:.2f} dB, l1 {l1:.2f} grey levels, untranslated psnr {psnr_before:.2f} dB; their "
    return (text + (known + "sliced Wasserstein {swd_true:.2f}") * ("psnr" in line)).format(**line)


def images(args, config: dict, generator, update) -> tuple[Source, int, str]:
    """The images, how many of them, at their end, the run held out (0: take all), and what they are in words."""
    from experiments.evaluate import changed

    run, two = config["settings"], translate.two_way(generator)
    now = run | {name: getattr(args, name) for name in ("data", "split", "data_dir", "size") if getattr(args, name)}
    channels = generator.shape[2] // (2 if two else 1)
    others = bool(args.data or args.split)
    if others:  # made as the run's, whatever they are
        now |= {"hold_out": 0, "size": args.size or generator.shape[:2], "channels": channels}
    if args.target:
        now |= {"target": args.target, "side_by_side": ""}
    if others and (now["target"] or now.get("side_by_side")):
        now["source_channels"] = channels if two else generator.source_channels
    if args.paired and args.reverse:
        now |= {"data": args.target, "target": args.data}
    opened = open_unpaired if two and not args.paired else open_pairs
    names = ("hold_out", "seed") if opened is open_unpaired else ("side_by_side", "source_channels")
    names += ("target", "degrade", "data_dir", "split", "size", "channels", "skip_broken")
    source = opened(now["data"], **{name: now[name] for name in names}, **made_alike(run), progress=update)
    for note in source.notes if args.data else ():
        print(f"note: {note}")
    what = "images" if source.sides else "pairs"
    same = not changed(config, source)
    if not now["hold_out"]:
        return source, 0, f"training {what}" if same or not others else what
    source = shuffled(source, run["seed"])  # as the run did
    if not same and not args.size:  # at another size it is another set
        print(f"note: {source.name} has changed since the run was trained on it: it may have seen these {what}")
    return source, run["hold_out"], f"held-out {what}" if same else what


def fitted(trained: restore.Trained, source: Source, size) -> restore.Trained:
    """The generator for images of these sizes, where --size asks for others than the run's. UserError where it takes no such."""
    trained = trained.at_size(*source.shape[:2]) if size else trained
    wanted = (*trained.generator.shape, trained.generator.source_channels)
    if (*source.shape, source.inputs.shape[2]) != wanted:
        raise UserError(f"{source.name}: its pairs are {source.shape} from {source.inputs.shape}; the run's {wanted}")
    return trained


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.evaluate RUN")

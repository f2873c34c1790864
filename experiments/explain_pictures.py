"""The pictures and numbers of `experiments.explain`, one function a method: (picture, numbers for the .json)."""

import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan import attacks, dissect, explain, latents, penalties, restore, watch
from jaxgan.errors import UserError

LEVELS = (0, 0.5, 1, 2, 4, 8, 16, 32, 64)
"""Sizes of attacks, in grey levels of 255."""

TIMES = 10
"""How many times the difference to an attacked image is enlarged in the picture."""

SHOWN = 8
"""Columns of a picture of attacks."""


def scorer(critic, x, c):
    """D's logit of images like x under their labels, [B, ...] -> [B], jitted; that of patches is averaged.

    Where D mixes the images of a batch, each one is judged among the others as they are in x. UserError where D judges groups of
    images that do not divide these.
    """
    judge = partial(logits_of, critic.discriminator, critic.variables, c)
    try:
        judge(x)
    except ValueError as e:
        raise UserError(f"--n {len(x)}: this discriminator does not take as many images at once ({e}); try 8") from None
    f = alone(judge, x)
    if f is not judge:
        print(f"this discriminator's logit for an image depends on its batch; each image is judged among these {len(x)}")
    return f


def alone(judge, x):
    """`judge`, images [B, ...] -> [B], itself; where it mixes images, jitted and with the others as they are in x."""
    try:
        if len(x) > 1:
            penalties.check_critic_is_per_image(judge, x)
    except ValueError:
        return jax.jit(explain.in_company(judge, jnp.asarray(x)))
    return judge


@partial(jax.jit, static_argnums=0)
def logits_of(discriminator, variables, c, x):
    """D's logits [B] of images; compiled once for all of one shape."""
    return restore.Critic(discriminator, variables, {}, 0).judge(x, c).logits.reshape(len(x), -1).mean(1)


def looks(args, critic, shown):
    """Heat maps of what made D's logit what it is: integrated gradients, or Shapley values of squares."""
    n, source = args.n, shown["source"]
    names = [f"{name}\n" if name else "" for name in _titles(source, shown["labels"], n)]
    level = {"black": -1.0, "grey": 0.0, "white": 1.0}
    baseline = shown["real"].mean(0) if args.baseline == "mean" else np.full(source.shape, level[args.baseline], np.float32)
    rows, numbers = [], {"baseline": args.baseline}
    for kind in ("real", "fake"):
        x = jnp.asarray(shown[kind][:n])
        f = scorer(critic, x, None if shown["labels"] is None else shown["labels"][:n])
        nothing = jnp.broadcast_to(baseline, x.shape)
        logits, at_baseline = np.asarray(f(x)), np.asarray(f(nothing))
        found = {"logits": logits.tolist(), "at_baseline": at_baseline.tolist()}
        if args.method == "gradients":
            heat = np.asarray(explain.integrated_gradients(f, x, nothing, steps=args.steps)).sum(-1)
            shares = heat.sum((1, 2))
        else:
            regions = explain.grid_regions(*source.shape[:2], args.regions, args.regions)
            values, errors = explain.shapley(jax.random.key(args.seed), f, x, nothing, regions, samples=args.samples)
            shares, heat = np.asarray(values).sum(1), np.asarray(values)[:, regions]
            found |= {"values": np.asarray(values).tolist(), "standard_errors": np.asarray(errors).tolist()}
        gap = np.abs(shares - (logits - at_baseline)).max()
        print(
            f"{kind}: mean logit {logits.mean():.3f}, of the {args.baseline} image {at_baseline.mean():.3f}; "
            f"the shares sum to the difference within {gap:.2g}"
        )
        numbers[kind] = found | {"largest_gap": float(gap)}
        rows += [
            (kind, x, [f"{name}logit {logit:+.2f}" for name, logit in zip(names, logits, strict=True)]),
            ("share", heat, None),
        ]
    limit = max(float(np.quantile(np.abs(heat), 0.995)) for kind, heat, _ in rows if kind == "share")
    return _figure(rows, limit, "red: made the logit higher (more real), blue: lower"), numbers


def units(args, trained):
    """The strongest units of a layer: images with the unit, without it, and the difference."""
    codes = trained.latents(args.n, seed=args.seed)
    network = trained.generator, trained.variables, codes
    found = dissect.layers(*network)
    layer = args.layer or default_layer(found, trained.generator.shape[2])
    effects = dissect.unit_effects(*network, layer, do=args.do)
    order = np.argsort(-effects.size, kind="stable")
    with_, without = dissect.contrast(*network, layer, args.do)
    print(f"layers: {', '.join(found)}")
    print(f"{layer} {found[layer]}: unit, mean absolute effect on a pixel in grey levels of 255")
    for unit in order[: args.units]:
        print(f"  {unit:4d}  {effects.size[unit] * 127.5:.2f}")
    few = codes.take(slice(0, 4))
    render = lambda value, only: dissect.intervene(*network[:2], few, layer, np.where(only, value, np.nan))
    rows = []
    for unit in order[: args.units]:
        only = np.arange(len(order)) == unit
        pair = render(with_, only), render(without, only)
        cells = [("change", effects.maps[unit])]
        for a, b in zip(*pair, strict=True):
            cells += [("image", a), ("image", b), ("change", difference(b, a))]
        rows.append((f"unit {unit}", cells))
    heads = ["mean\neffect", *(["with", "without", "difference"] * len(few.code))]
    grey = trained.generator.shape[2] == 1
    legend = "red: brighter with the unit, blue: darker" if grey else "grey: no difference; other colours: what the unit adds"
    numbers = {"layer": layer, "do": args.do, "images": args.n, "units": order.tolist()}
    numbers |= {"effects": effects.size[order].tolist(), "layers": found}
    return _table(rows, heads, f"{legend} (each row has its own scale)"), numbers


def default_layer(found, channels):
    """The middle one of those that lie least deep in the network's parts, leaving out those that give colours. UserError of none:
    a generator of dense layers has no maps."""
    if not found:
        raise UserError("--method units: this generator has no feature maps, whose channels are the units; take another --method")
    hidden = {name: name.count("/") for name, shape in found.items() if shape[2] != channels} or dict.fromkeys(found, 0)
    top = [name for name, depth in hidden.items() if depth == min(hidden.values())]
    return top[len(top) // 2]


def attack(args, critic, shown):
    """How far images must move until D is wrong about them: curves, medians, and a picture of attacked images."""
    n, labels = args.n, shown["labels"]
    c = None if labels is None else labels[:n]
    pictures, numbers = [], {"norm": args.norm, "levels": list(LEVELS), "images": n}
    for kind, other, sign, title in (
        ("fake", "real", 1.0, "generated images that D should take for real ones"),
        ("real", "fake", -1.0, "real images that D should take for generated ones"),
    ):
        x = jnp.asarray(shown[kind][:n])
        f = scorer(critic, x, c)
        bar = sign * medians(critic, shown[other][n:], None if labels is None else labels[n:], c)
        found, moved = curve(args, lambda y, f=f, sign=sign: sign * f(y), x, bar)
        found["logits"] = [sign * score for score in found.pop("scores")]
        numbers[f"{kind}_as_{other}"] = found
        tell(f"{title}: their logits pass the median {other} logit of their class", "logit", found["logits"], found)
        pictures.append((x, moved))
    classes = class_logits(critic, c, jnp.asarray(shown["real"][:n]))
    if classes is not None and classes.shape[1] > 1 and np.ndim(c) == 1:  # of a single class there is no other
        x = jnp.asarray(shown["real"][:n])
        found, moved = curve(args, alone(jax.jit(partial(wrong_class, critic, c)), x), x, np.zeros(n))
        found["margins"] = [-score for score in found.pop("scores")]
        numbers["class"] = found
        tell("real images that D's class head should take for another class", "margin", found["margins"], found)
        pictures.append((x, moved))
    columns = min(n, SHOWN)
    rows = [part[:columns] for x, y in pictures for part in (x, y, enlarged(x, y))]
    print(f"rows, repeated: images, the same attacked until half of the attacks succeed, {TIMES} times the difference")
    return watch.grid(_bytes(np.concatenate(rows)), columns=columns), numbers


def enlarged(x, y):
    """`TIMES` the difference of images in [-1, 1]; of such with alpha opaque, as they look on grey."""
    change = TIMES * difference(x, y)
    return change if x.shape[-1] != 4 else jnp.concatenate([change, jnp.ones_like(x[..., 3:])], -1)


def difference(x, y):
    """What of images in [-1, 1] changes from x to y, as they look: such as have alpha are laid on grey, which is 0."""
    on_grey = lambda x: x if x.shape[-1] != 4 else x[..., :3] * (x[..., 3:] + 1) / 2
    return on_grey(y) - on_grey(x)


def class_logits(critic, c, x):
    """[B, K], without that of multi_hinge's fakes, which are no class; None where D has no class head."""
    logits = critic.judge(x, c).classes
    return logits if logits is None else logits[:, : getattr(critic.discriminator, "classes", None)]


def wrong_class(critic, c, y):
    """How far the best other class is ahead of the right one, [B]."""
    logits = class_logits(critic, c, y)
    right = jax.nn.one_hot(c, logits.shape[1], dtype=bool)
    return jnp.where(right, -jnp.inf, logits).max(1) - jnp.where(right, logits, -jnp.inf).max(1)


def medians(critic, x, c, wanted):
    """The median logit of images x [m, ...], of the class of each of `wanted`, [n] or None; of all where that has none."""
    logits = np.asarray(logits_of(critic.discriminator, critic.variables, c, jnp.asarray(x)))
    every = np.median(logits)
    if np.ndim(wanted) != 1:
        return every
    return np.array([np.median(logits[c == k]) if (c == k).any() else every for k in wanted])


def curve(args, score, x, bar):
    """Attacks of every size on x, which raise `score` [B] to the `bar`: numbers, and the images of the first that half pass."""
    width = 1.0 if args.norm == "linf" else float(np.sqrt(x[0].size))
    scores, moved, best = [], x, np.full(len(x), -np.inf)
    for level in LEVELS:
        eps = level / 127.5 * width
        steps = {"step": 2.5 * eps / args.attack_steps, "steps": args.attack_steps}
        y = attacks.pgd(None, score, x, eps=eps, norm=args.norm, **steps) if level else x
        best = np.maximum(best, np.asarray(score(y)))  # what a smaller ball has is in the larger one too
        scores.append(best)
        moved = y if not level or np.mean(scores[-2] >= bar) < 0.5 else moved
    scores = np.stack(scores)
    first = np.array([reached(scores[:, i], b) for i, b in enumerate(np.broadcast_to(bar, len(x)))])
    middle = float(np.median(first))
    found = {"scores": scores.mean(1).tolist(), "passed": (scores >= bar).mean(1).tolist()}
    return found | {"median_level": middle if np.isfinite(middle) else None}, moved


def reached(scores, bar):
    """The level at which rising scores pass the bar, between two of `LEVELS` on a straight line; infinity if they do not."""
    above = np.flatnonzero(scores >= bar)
    if not len(above):
        return np.inf
    i = above[0]
    if i == 0:
        return 0.0
    return LEVELS[i - 1] + (LEVELS[i] - LEVELS[i - 1]) * (bar - scores[i - 1]) / (scores[i] - scores[i - 1])


def tell(title, name, values, found):
    """A small table of a curve."""
    line = lambda label, row, form: print(f"  {label:22s}" + "".join(form.format(value) for value in row))
    print(title)
    line("grey levels of 255", LEVELS, "{:8g}")
    line(f"mean {name}", values, "{:8.2f}")
    line("share that passed", found["passed"], "{:8.2f}")
    middle = found["median_level"]
    print(f"  median over the images: {f'{middle:.2f} grey levels' if middle is not None else f'more than {LEVELS[-1]}'}")


def _titles(source, labels, n):
    if labels is None or labels.ndim > 1:
        return [""] * n
    return [str(source.class_names[k]) if source.class_names else str(k) for k in labels[:n]]


def _bytes(x):
    return np.asarray(latents.as_bytes(x))


def _picture(figure):
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png")
    return Image.open(file)


def _draw(axes, kind, x, limit):
    """An image [H, W, C] in [-1, 1], a change of one, which in colour is shown on grey, or a signed map [H, W]."""
    axes.set_xticks([])
    axes.set_yticks([])
    if kind == "change" and x.shape[-1] > 1:  # a sum over channels would not show a change of hue
        kind, x = "image", x[..., :3] / limit
    if kind == "image":
        pixels = _bytes(x)
        return axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
    return axes.imshow(x.reshape(x.shape[:2]), cmap="RdBu_r", vmin=-limit, vmax=limit)


@watch.in_plain_style
def _figure(rows, limit, legend):
    """Rows of images and of heat maps of one scale, with its bar."""
    from matplotlib.figure import Figure

    columns, (h, w) = len(rows[0][1]), np.shape(rows[0][1][0])[:2]
    figure = Figure(figsize=(1.3 * columns + 1.2, (1.3 * h / w + 0.12) * len(rows) + 0.5), layout="constrained")
    table = figure.subplots(len(rows), columns, squeeze=False)
    for line, (kind, pictures, titles) in zip(table, rows, strict=True):
        for i, axes in enumerate(line):
            drawn = _draw(axes, "heat" if kind == "share" else "image", pictures[i], limit)
            if titles:
                axes.set_title(titles[i], fontsize=8)
        line[0].set_ylabel(kind, fontsize=8)
    bar = figure.colorbar(drawn, ax=table, fraction=0.05, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(legend, fontsize=8)
    return _picture(figure)


@watch.in_plain_style
def _table(rows, heads, legend):
    """A row a unit; each row's maps have a scale of their own."""
    from matplotlib.figure import Figure

    h, w = np.shape(rows[0][1][0][1])[:2]
    figure = Figure(figsize=(0.95 * len(heads) + 0.4, (0.95 * h / w + 0.05) * len(rows) + 0.6), layout="constrained")
    table = figure.subplots(len(rows), len(heads), squeeze=False)
    for line, (name, cells) in zip(table, rows, strict=True):
        limit = max(float(np.abs(x).max()) for kind, x in cells if kind == "change")
        for axes, (kind, x) in zip(line, cells, strict=True):
            _draw(axes, kind, x, limit or 1.0)
        line[0].set_ylabel(name, fontsize=8)
    for axes, head in zip(table[0], heads, strict=True):
        axes.set_title(head, fontsize=7)
    figure.suptitle(legend, fontsize=8)
    return _picture(figure)

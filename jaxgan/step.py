"""One training step of any GAN: a fold over turns. A method is a `Recipe`, which is data, never a class of trainer.

A *turn* moves one player, or both at once from the same parameters (*simultaneous*). A player's loss is a weighted sum of
*terms*; a term sees one `Round` and is a few lines. Whatever a term ignores, the compiler drops.

Randomness belongs to the image: image i of the global batch draws from keys made of (state.key, step, turn, slot, i) alone,
whichever device holds it, so the number of devices does not change the run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan import average
from jaxgan.schedules import half_life_beta
from jaxgan.state import TrainState

Tree, Array = Any, jax.Array
Schedule = Callable[[Array], Array]


class Verdict(NamedTuple):
    """What a discriminator says of images."""

    logits: Array
    """[B], or [B, h, w] of patches."""
    classes: Array | None = None
    """[B, K], logits of an auxiliary class head."""
    features: Array | None = None
    """[B, ...], a hidden layer, for losses that compare features."""


class Game(NamedTuple):
    """The two networks as pure functions; each returns its output and the complete new statistics.

    variables: `{'params': ..., **stats}`; keys: typed keys [B], one an image; c: labels [B], label vectors [B, K], source
    images, or None; axis: the device axis by name, or None; refresh: static, True in the one call a turn that brings up
    to date what follows from the weights alone (spectral norm's vectors).
    """

    latent: Callable[..., tuple[Tree, Tree]]
    """(variables, keys, c, kimg, axis, refresh) -> w [B, ...], stats"""
    synthesize: Callable[..., tuple[Array, Tree]]
    """(variables, keys, w, c, kimg, axis, refresh) -> x [B, H, W, C], stats"""
    judge: Callable[..., tuple[Verdict, Tree]]
    """(variables, keys, x, c, kimg, axis, refresh) -> verdict, stats"""
    augment: Callable[[Array, Array, Array, Callable], Array] = lambda keys, x, p, critic: x
    """(keys, x, p, critic) -> x: differentiable, inside every call of the discriminator; critic: x -> logits, that very
    discriminator with fixed parameters, on images that are not augmented"""
    p: Callable[[dict, Array], Any] = lambda carry, kimg: 0.0
    """(carry, kimg) -> augmentation probability []"""
    reals: Callable[[Array, Array], Array] = lambda x, kimg: x
    """(x [..., H, W, C], kimg) -> x: what stands for the real images at a time, before any augmentation"""


class Round(NamedTuple):
    """All that a term may see of one (micro-)batch on one device."""

    real: Array
    """[B, H, W, C] in [-1, 1]"""
    fake: Array
    """[B, H, W, C]"""
    c: Tree
    w: Tree
    real_out: Verdict
    fake_out: Verdict
    extra: tuple[tuple[Array, Tree], ...]
    """(x, c) of the turn's extra slots."""
    D: Callable[..., Verdict]
    """(x, of='real' | 'fake', c=the batch's) -> Verdict: the discriminator with the augmentation draws that `of` had. Given
    B / k images it takes them for every k-th of the batch (x[::k], which is the same set on any number of devices)."""
    S: Callable[[Tree], Array]
    """w -> x: the generator, differentiable in its parameters too; w[::k] as for D."""
    gather: Callable[[Array], Array]
    """[B, ...] -> [global B, ...]: over all devices, for losses that compare images with one another."""
    params: dict[str, Tree]
    """{'g': ..., 'd': ...}; differentiable in the moving player's."""
    carry: dict
    keys: Array
    """[B], one an image, this term's own."""
    key: Array
    """[], this term's own, the same on every device."""
    kimg: Array


class Term(NamedTuple):
    """One summand of a player's loss."""

    name: str
    weight: float | Schedule
    fn: Callable[[Round], tuple[Array, dict, dict]]
    """round -> loss [], new carry entries, log entries"""
    every: int = 1
    """Lazy: counted in every `every`-th step alone, times `every`. A phase none of whose terms is due does not move."""
    share: int = 1
    """It looks at every `share`-th image, as it slices them itself: this divides the images of a device."""


class Phase(NamedTuple):
    """One optimiser update of one player ('g' or 'd')."""

    player: str
    terms: tuple[Term, ...]


class Turn(NamedTuple):
    """Phases that move together, from the same parameters, noise and forward passes: one player's, or both."""

    phases: tuple[Phase, ...]
    slots: tuple[int, ...] = (0,)
    """Which of the step's real batches it plays on, one update each: n_critic is len(slots)."""
    extra: tuple[int, ...] = ()
    """More real batches that its terms see, as `Round.extra`."""


class Recipe(NamedTuple):
    """A training method."""

    turns: tuple[Turn, ...]
    tx: dict[str, optax.GradientTransformationExtraArgs]
    """{'g': ..., 'd': ...}; update(grads, opt, params, kimg=) -> updates, opt"""
    batch: int
    """Global images a step."""
    accum: int = 1
    """Micro-batches that the batch is cut into; gradients are averaged. What compares images of a batch with one another
    (batch norm, minibatch stddev, relativistic pairs, MMD) sees a micro-batch, so for those it is not the large batch."""
    ema_kimg: Schedule = lambda kimg: jnp.float32(10.0)
    """Half-life of the generator's average, in kimg."""
    posthoc: tuple[float, ...] = ()
    """Relative widths of more averages, in (0, 0.2887): two of them, saved now and then, make any (`jaxgan.average`)."""
    carry: dict[str, float] = {}
    """First values of what the terms and `adapt` keep."""
    adapt: Callable[[dict, dict], dict] = lambda carry, log: carry
    """(carry, log) -> carry, after all turns (the ADA controller); may read only logs of terms with every=1."""
    held_slots: tuple[int, ...] = ()
    """Slots whose images are held out: no other slot ever has them."""

    def __hash__(self):  # tx and carry are dicts; equal recipes have equal hashes
        return hash((self.turns, tuple(self.tx), self.batch, self.accum))

    @property
    def slots(self) -> int:
        return 1 + max(s for turn in self.turns for s in (*turn.slots, *turn.extra))


def check(recipe: Recipe) -> None:
    """Raise ValueError where a recipe is not one."""
    for turn in recipe.turns:
        players = [phase.player for phase in turn.phases]
        if not set(players) <= {"g", "d"} or len(set(players)) != len(players):
            raise ValueError(f"a turn moves 'g', 'd' or both, once each; this one moves {players}")
        for phase in turn.phases:
            names = [term.name for term in phase.terms]
            if not names or len(set(names)) != len(names):
                raise ValueError(f"a phase needs terms with names of their own; this one has {names}")
            if any(term.every < 1 or term.share < 1 for term in phase.terms):
                raise ValueError(f"every and share must be at least 1 in the terms {names}")
    used = {s for turn in recipe.turns for s in (*turn.slots, *turn.extra)}
    if any(s in recipe.held_slots for turn in recipe.turns for s in turn.slots):
        raise ValueError(f"no turn may play on the held-out slots {recipe.held_slots}; its terms see them by `extra`")
    if used != set(range(recipe.slots)):
        raise ValueError(f"slots must be 0, 1, ... without a gap; the turns use {sorted(used)}")
    if recipe.accum < 1 or recipe.batch % recipe.accum:
        raise ValueError(f"batch {recipe.batch} does not divide into {recipe.accum} micro-batches")


Due = tuple[tuple[tuple[int, ...], ...], ...]


def due(recipe: Recipe, step: int) -> Due:
    """Which terms count in a step, as [turn][phase] -> indices: static, so that each set is one compiled program."""
    return tuple(
        tuple(tuple(i for i, t in enumerate(phase.terms) if step % t.every == 0) for phase in turn.phases)
        for turn in recipe.turns
    )


def programs(recipe: Recipe) -> dict[Due, int]:
    """Every different `due` of the recipe with the first step that has it; step 0 has all terms."""
    intervals = {t.every for turn in recipe.turns for phase in turn.phases for t in phase.terms}
    first = {}
    for step in sorted({0, 1} | {k for e in intervals for k in range(0, 8 * e, e)}):
        first.setdefault(due(recipe, step), step)
    return first


def _networks(game: Game, state: TrainState, c, keys, kimg, axis):
    """generate, synthesize and judge: the networks with the labels and the keys [B, 6] of a (micro-)batch.

    The last two, given B / k images, take the labels and the draws of every k-th of the batch.
    """
    kw, ks, kr, kf, jr, jf = (keys[:, i] for i in range(6))
    p = game.p(state.carry, kimg)

    def of_every(k, tree):
        return jax.tree.map(lambda a: a[::k], tree)

    def synthesize(params, stats, w, refresh=False):
        k = len(keys) // len(jax.tree.leaves(w)[0])
        return game.synthesize({"params": params, **stats}, ks[::k], w, of_every(k, c), kimg, axis, refresh)

    def generate(params):
        w, stats = game.latent({"params": params, **state.g.stats}, kw, c, kimg, axis, True)
        fake, stats = synthesize(params, stats, w, refresh=True)
        return (w, fake), stats

    def judge(params, stats, x, of, c=c, refresh=False):
        ka, kj = {"real": (kr, jr), "fake": (kf, jf)}[of]
        k = len(keys) // len(x)

        def verdict(params, x, refresh):
            return game.judge({"params": params, **stats}, kj[::k], x, of_every(k, c), kimg, axis, refresh)

        critic = lambda x: verdict(jax.lax.stop_gradient(params), x, False)[0].logits
        return verdict(params, game.augment(ka[::k], x, p, critic), refresh)

    return generate, synthesize, judge


def _play(game: Game, state: TrainState, terms: dict[str, tuple[Term, ...]], batch, key, index, kimg, axis):
    """Gradients, statistics, carry and log of one micro-batch, for each player in `terms`.

    Each network runs forward once (`jax.vjp`); each moving player pulls its own gradient back through it. Counting on the
    compiler to merge two `value_and_grad`s instead costs 26 convolutions for 21 on the tutorial's step.
    """
    (x, c), extra = batch
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), 7))(index)
    generate, synthesize, judge = _networks(game, state, c, keys[:, :6], kimg, axis)

    def judge_both(params, fake):
        real_out, stats = judge(params, state.d.stats, x, "real", refresh=True)
        fake_out, stats = judge(params, stats, fake, "fake")
        return (real_out, fake_out), stats

    made, pull_g, g_stats = jax.vjp(generate, state.g.params, has_aux=True)
    outs, pull_d, d_stats = jax.vjp(judge_both, state.d.params, made[1], has_aux=True)

    def loss(moving, outs, made, player):
        params = {"g": state.g.params, "d": state.d.params} | {player: moving}
        term_key = jax.random.fold_in(key, 2**31 - 1 if player == "d" else 2**31 - 2)
        total, fresh, log = jnp.float32(0.0), {}, {}
        for i, term in enumerate(terms[player]):
            r = Round(
                real=x,
                fake=made[1],
                c=c,
                w=made[0],
                real_out=outs[0],
                fake_out=outs[1],
                extra=extra,
                D=lambda x, of="real", c=c: judge(params["d"], d_stats, x, of, c)[0],
                S=lambda w: synthesize(params["g"], g_stats, w)[0],
                gather=lambda a: jax.lax.all_gather(a, axis, tiled=True) if axis else a,
                params=params,
                carry=state.carry | fresh,
                keys=jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys[:, 6]),
                key=jax.random.fold_in(term_key, i),
                kimg=kimg,
            )
            value, new, notes = term.fn(r)
            weight = term.weight(kimg) if callable(term.weight) else term.weight
            total += weight * term.every * value
            fresh, log = fresh | new, log | {f"{player}/{term.name}": value} | notes
        return total, (fresh, log)

    grads, carry, log = {}, state.carry, {}
    if "d" in terms:
        pull = jax.grad(loss, argnums=(0, 1), has_aux=True)
        (direct, d_outs), (new, notes) = pull(state.d.params, outs, made, "d")
        grads["d"] = jax.tree.map(jnp.add, direct, pull_d(d_outs)[0])
        carry, log = carry | new, log | notes
        log |= {"logits/real": outs[0].logits.mean(), "logits/fake": outs[1].logits.mean()}
    if "g" in terms:
        pull = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        (direct, d_outs, (dw, dfake)), (new, notes) = pull(state.g.params, outs, made, "g")
        through_d = pull_d(d_outs)[1]
        grads["g"] = jax.tree.map(jnp.add, direct, pull_g((dw, dfake + through_d))[0])
        carry, log = carry | new, log | notes
    stats = {"g": g_stats, "d": d_stats}
    return grads, {name: stats[name] for name in terms}, carry, log


def _move(game: Game, recipe: Recipe, state: TrainState, terms, batch, key, kimg, axis):
    """One turn on one real batch, (x, c) and the extra ones [accum, B, ...]: each player in `terms` makes one update."""
    accum, local = batch[0][0].shape[:2]
    first, size = (jax.lax.axis_index(axis) * local, jax.lax.axis_size(axis) * local) if axis else (0, local)

    def micro(so_far, turn):
        grads, stats, carry = so_far
        a, batch = turn
        now = state.replace(carry=carry, **{n: getattr(state, n).replace(stats=s) for n, s in stats.items()})
        index = a * size + first + jnp.arange(local)
        new, stats, carry, log = _play(game, now, terms, batch, key, index, kimg, axis)
        return (jax.tree.map(jnp.add, grads, new), stats, carry), log

    players = {name: getattr(state, name) for name in terms}
    zeros = {name: jax.tree.map(jnp.zeros_like, me.params) for name, me in players.items()}
    start = (zeros, {name: me.stats for name, me in players.items()}, state.carry)
    if accum == 1:
        out, log = micro(start, (0, jax.tree.map(lambda a: a[0], batch)))
    else:
        # On a CPU a convolution inside a loop runs some fifty times slower, so there the loop is written out.
        unroll = accum if jax.default_backend() == "cpu" else 1
        out, log = jax.lax.scan(micro, start, (jnp.arange(accum), batch), unroll=unroll)
        log = jax.tree.map(lambda a: a.mean(0), log)
    (grads, stats, carry), log = jax.lax.pmean((out, log), axis) if axis else (out, log)
    for name, me in players.items():
        mean = jax.tree.map(lambda g: g / accum, grads[name]) if accum > 1 else grads[name]
        updates, opt = recipe.tx[name].update(mean, me.opt, me.params, kimg=kimg)
        players[name] = me.replace(params=optax.apply_updates(me.params, updates), stats=stats[name], opt=opt)
    return state.replace(carry=carry, **players), log


def update(state: TrainState, x: Array, c: Tree, *, game: Game, recipe: Recipe, due: Due, axis: str | None = None):
    """One training step: state -> state', log. Pure; jit it, or pmap it with `axis` as its axis name.

    Args:
      state: the `TrainState`, the same on every device.
      x: this device's images [slots, accum, B, H, W, C]: uint8, or float in [-1, 1]. Device d of n holds the images
        [d * B, (d + 1) * B) of each micro-batch; recipe.batch = accum * B * n.
      c: their labels, label vectors or source images (uint8 as x) with the same leading axes, or None.
      game, recipe: what is trained and how.
      due: static; `due(recipe, step)`.
      axis: name of the mapped axis over devices; None on one device.
    Returns:
      The next state, and {name: float32 []}: each term that was due, unweighted, averaged over the global batch.
    """
    kimg = state.step.astype(jnp.float32) * (recipe.batch / 1000)
    step_key = jax.random.fold_in(state.key, state.step)
    x, c = jax.tree.map(lambda a: a.astype(jnp.float32) / 127.5 - 1 if a.dtype == jnp.uint8 else a, (x, c))
    x, log = game.reals(x, kimg), {}
    for t, (turn, indices) in enumerate(zip(recipe.turns, due, strict=True)):
        terms = {
            phase.player: tuple(phase.terms[i] for i in chosen)
            for phase, chosen in zip(turn.phases, indices, strict=True)
            if chosen
        }
        for j, slot in enumerate(turn.slots if terms else ()):
            key = jax.random.fold_in(jax.random.fold_in(step_key, t), j)
            real, *extra = (jax.tree.map(lambda a, s=s: a[s], (x, c)) for s in (slot, *turn.extra))
            state, notes = _move(game, recipe, state, terms, (real, tuple(extra)), key, kimg, axis)
            log |= notes
    beta = half_life_beta(recipe.batch, recipe.ema_kimg(kimg))
    step = state.step + 1
    averages = {
        name: average.ema(state.averages[name], state.g.params, average.power_beta(step, width))
        for name, width in ((f"{width:g}", width) for width in recipe.posthoc)
    }
    ema = jax.tree.map(lambda e, p: p + beta * (e - p), state.ema, state.g.params)
    return state.replace(step=step, ema=ema, averages=averages, carry=recipe.adapt(state.carry, log)), log


traced = jax.jit(update, static_argnames=("game", "recipe", "due", "axis"))
"""`update`, traced once for each set of static arguments and shapes: the check before a run and its program share the trace."""

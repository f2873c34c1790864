"""One training step of any GAN: a fold over turns. A method is a `Recipe`, which is data, never a trainer class.

A *turn* updates one player, or both at once from the same parameters (*simultaneous*). A player's loss is a weighted sum of
*terms*; a term is a few lines of code on one `Round`. The compiler removes whatever a term does not use.

Randomness is per image: the keys of image i of the global batch depend only on (state.key, step, turn, slot, i), whichever
device holds it, so the number of devices does not change the run.
"""

import math

import jax
import jax.numpy as jnp
import optax

from jaxgan import average
from jaxgan.errors import UserError
from jaxgan.method import Game, Recipe, Round, Term, checked, same_carry
from jaxgan.schedules import as_schedule, half_life_beta
from jaxgan.state import TrainState
from jaxgan.typing import AnyArray, Array, Tree

Due = tuple[tuple[tuple[int, ...], ...], ...]


def due(recipe: Recipe, step: int) -> Due:
    """Which terms are due in a step, as [turn][phase] -> indices: static, so that each set is one compiled program."""
    return tuple(
        tuple(tuple(i for i, t in enumerate(phase.terms) if step % t.every == 0) for phase in turn.phases)
        for turn in recipe.turns
    )


def period(recipe: Recipe) -> int:
    """Number of steps after which the sets of due terms repeat."""
    return math.lcm(*(term.every for turn in recipe.turns for phase in turn.phases for term in phase.terms))


def programs(recipe: Recipe) -> dict[Due, int]:
    """Every different `due` of the recipe with the first step that has it; step 0 has all terms."""
    first = {}
    for step in range(period(recipe)):
        first.setdefault(due(recipe, step), step)
    return first


OWN = object()
"""Default of `c`: the labels of the batch. (None would mean no labels.)"""


def _networks(game: Game, state: TrainState, c, keys, kimg, axis):
    """generate, synthesize and judge: the networks with the labels and the keys [B, 6] of a (micro-)batch.

    The last two, given B / k images, take the labels and the draws of every k-th of the batch.
    """
    kw, ks, kr, kf, jr, jf = (keys[:, i] for i in range(6))
    p = game.p(state.carry, kimg)

    def of_every(k, tree):
        return jax.tree.map(lambda a: a[::k], tree)

    def synthesize(params, stats, w, refresh=False):
        n = len(jax.tree.leaves(w)[0])
        if not n or len(keys) % n:
            raise UserError(f"S takes B / k latents w, B = {len(keys)}, k whole, not {n}")
        k = len(keys) // n
        return game.synthesize({"params": params, **stats}, ks[::k], w, of_every(k, c), kimg, axis, refresh)

    def generate(params):
        w, stats = game.latent({"params": params, **state.g.stats}, kw, c, kimg, axis, True)
        fake, stats = synthesize(params, stats, w, refresh=True)
        return (w, fake), stats

    def judge(params, stats, x, of, given=OWN, refresh=False):
        if of not in ("real", "fake") or not len(x) or len(keys) % len(x):
            more = "; of more, call it for each B" * (len(x) > len(keys))
            raise UserError(f"D takes B / k images of 'real' or 'fake', B = {len(keys)}, k whole, not {len(x)} of {of!r}{more}")
        ka, kj = {"real": (kr, jr), "fake": (kf, jf)}[of]
        k = len(keys) // len(x)
        labels = of_every(k, c) if given is OWN else given

        def verdict(params, x, refresh):
            said, new = game.judge({"params": params, **stats}, kj[::k], x, labels, kimg, axis, refresh)
            if said.logits.shape[:1] != x.shape[:1]:
                raise UserError(f"D returned logits {said.logits.shape} for {len(x)} images; return [B], or [B, h, w] patches")
            return said, new

        critic = lambda x: verdict(jax.lax.stop_gradient(params), x, False)[0].logits
        return verdict(params, game.augment(ka[::k], x, p, critic), refresh)

    return generate, synthesize, judge


def _play(game: Game, state: TrainState, terms: dict[str, tuple[Term, ...]], batch, key, index, kimg, axis):
    """Gradients, statistics, carry and logs (every step's, the lazy terms') of one micro-batch, for each player in `terms`.

    Each network runs forward once (`jax.vjp`); each moving player pulls its own gradient back through it. Counting on the
    compiler to merge two `value_and_grad`s instead costs 26 convolutions for 21 on the tutorial's step.
    """
    (x, c), extra = batch
    if axis:  # else shard_map, with its check of replication on, adds gradients up by itself
        vary = lambda player: player.replace(params=jax.lax.pcast(player.params, axis, to="varying"))
        state = state.replace(g=vary(state.g), d=vary(state.d))
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), 7))(index)
    generate, synthesize, judge = _networks(game, state, c, keys[:, :6], kimg, axis)

    def judge_both(params, fake):
        real_out, stats = judge(params, state.d.stats, x, "real", refresh=True)
        fake_out, stats = judge(params, stats, fake, "fake")
        return (real_out, fake_out), stats

    made, pull_g, g_stats = jax.vjp(generate, state.g.params, has_aux=True)
    if made[1].shape != x.shape:
        raise UserError(f"G makes images {made[1].shape}, but the real ones are {x.shape}; give both the same shape")
    outs, pull_d, d_stats = jax.vjp(judge_both, state.d.params, made[1], has_aux=True)

    def loss(moving, outs, made, player):
        params = {"g": state.g.params, "d": state.d.params} | {player: moving}
        term_key = jax.random.fold_in(key, 2**31 - 1 if player == "d" else 2**31 - 2)
        total, fresh, logs = jnp.float32(0.0), {}, ({}, {})
        for i, term in enumerate(terms[player]):
            r = Round(
                real=x,
                fake=made[1],
                c=c,
                w=made[0],
                real_out=outs[0],
                fake_out=outs[1],
                extra=extra,
                D=lambda x, of="real", c=OWN, params=params["d"]: judge(params, d_stats, x, of, c)[0],
                S=lambda w, params=params["g"]: synthesize(params, g_stats, w)[0],
                gather=lambda a: jax.lax.all_gather(a, axis, tiled=True) if axis else a,
                params=params,
                stats={"g": g_stats, "d": d_stats},
                carry=state.carry | fresh,
                keys=jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys[:, 6]),
                key=jax.random.fold_in(term_key, i),
                kimg=kimg,
            )
            value, new, notes = checked(f"{player}/{term.name}", term.fn(r), state.carry)
            weight = term.weight(kimg) if callable(term.weight) else term.weight
            total += weight * term.every * value
            fresh = fresh | new
            logs[term.every > 1].update({f"{player}/{term.name}": value} | notes)
        return total, (fresh, logs)

    grads, carry, log, lazy = {}, state.carry, {}, {}
    if "d" in terms:
        pull = jax.grad(loss, argnums=(0, 1), has_aux=True)
        (direct, d_outs), (new, notes) = pull(state.d.params, outs, made, "d")
        grads["d"] = jax.tree.map(jnp.add, direct, pull_d(d_outs)[0])
        carry, log, lazy = carry | new, log | notes[0], lazy | notes[1]
        log |= {"logits/real": outs[0].logits.mean(), "logits/fake": outs[1].logits.mean()}
    if "g" in terms:
        pull = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        (direct, d_outs, (dw, dfake)), (new, notes) = pull(state.g.params, outs, made, "g")
        through_d = pull_d(d_outs)[1]
        grads["g"] = jax.tree.map(jnp.add, direct, pull_g((dw, dfake + through_d))[0])
        carry, log, lazy = carry | new, log | notes[0], lazy | notes[1]
    stats = {"g": g_stats, "d": d_stats}
    return grads, {name: stats[name] for name in terms}, carry, (log, lazy)


def _move(game: Game, recipe: Recipe, state: TrainState, terms, batch, key, kimg, axis):
    """One turn on one real batch, (x, c) and the extra ones [accum, B, ...]: each player in `terms` makes one update."""
    accum, local = batch[0][0].shape[:2]
    first, size = (jax.lax.axis_index(axis) * local, jax.lax.axis_size(axis) * local) if axis else (0, local)

    def micro(so_far, turn):
        grads, carry = so_far
        a, batch = turn
        index = a * size + first + jnp.arange(local)
        new, stats, carry, logs = _play(game, state.replace(carry=carry), terms, batch, key, index, kimg, axis)
        return (jax.tree.map(jnp.add, grads, new), carry), (stats, jax.tree.map(jnp.float32, logs))

    players = {name: getattr(state, name) for name in terms}
    start = {name: jax.tree.map(jnp.zeros_like, me.params) for name, me in players.items()}, state.carry
    real = lambda a: jnp.issubdtype(a.dtype, jnp.inexact)  # else a counter, or an index: the largest is taken
    if accum == 1:
        summed, out = micro(start, (0, jax.tree.map(lambda a: a[0], batch)))
    else:
        # On a CPU a convolution inside a loop runs some fifty times slower, so there the loop is written out.
        unroll = accum if jax.default_backend() == "cpu" else 1
        summed, out = jax.lax.scan(micro, start, (jnp.arange(accum), batch), unroll=unroll)
        out = jax.tree.map(lambda a: a.mean(0) if real(a) else a.max(0), out)
    if axis:
        means = jax.lax.pmean((summed, out), axis)
        summed, out = jax.tree.map(lambda a, mean: mean if real(a) else jax.lax.pmax(a, axis), (summed, out), means)
    (grads, carry), (stats, logs) = summed, out
    for name, me in players.items():
        mean = jax.tree.map(lambda g: g / accum, grads[name]) if accum > 1 else grads[name]
        updates, opt = recipe.tx[name].update(mean, me.opt, me.params, kimg=kimg)
        players[name] = me.replace(params=optax.apply_updates(me.params, updates), stats=stats[name], opt=opt)
    return state.replace(carry=carry, **players), logs


def update(
    state: TrainState, x: AnyArray, c: Tree, *, game: Game, recipe: Recipe, due: Due, axis: str | None = None
) -> tuple[TrainState, dict[str, Array]]:
    """One training step: state -> state', log; `traced` is the same under `jax.jit`. Pure; pmap it with `axis` as its axis name.

    Args:
      state: the `TrainState`, the same on every device.
      x: this device's images [slots, accum, B, H, W, C]: uint8, or float in [-1, 1]. Device d of n holds the images
        [d * B, (d + 1) * B) of each micro-batch; recipe.batch = accum * B * n.
      c: their labels, label vectors or source images (uint8 as x) with the same leading axes, or None.
      game, recipe: what is trained and how.
      due: static; `due(recipe, step)`.
      axis: name of the mapped axis over devices; None on one device.
    Returns:
      The next state, and {name: float32 []}: each term that was due, unweighted, averaged over the global batch; for a turn
      with several slots, those of the last one.
    Raises:
      UserError: images or labels that do not match the recipe's batch or G's images; a term that returns something else
        than it should.
    """
    lead = recipe.slots, recipe.accum, recipe.batch // recipe.accum // (jax.lax.axis_size(axis) if axis else 1)
    if x.ndim != 6 or x.shape[:3] != lead:
        raise UserError(f"x is {x.shape}; this recipe takes [slots, accum, B, H, W, C] with the first three {lead} per device")
    if x.dtype != jnp.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(f"x is {x.dtype}; give uint8, or floats in [-1, 1]")
    if (led := [a.shape[:3] for a in jax.tree.leaves(c)]) != [lead] * len(led):
        raise UserError(f"c has the leading axes {led[0]}; labels need the same first three as x, here {lead}")
    kimg = state.step.astype(jnp.float32) * (recipe.batch / 1000)
    step_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    pixels = lambda a: a.astype(jnp.float32) / 127.5 - 1
    x, c = jax.tree.map(lambda a: pixels(a) if a.dtype == jnp.uint8 and a.ndim == x.ndim else a, (x, c))
    x, log, lazy = game.reals(x, kimg), {}, {}
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
            log, lazy = log | notes[0], lazy | notes[1]
    beta = half_life_beta(recipe.batch, as_schedule(recipe.ema_kimg)(kimg))
    step = state.step + 1
    averages = {
        name: average.ema(state.averages[name], state.g.params, average.power_beta(step, width))
        for name, width in ((f"{width:g}", width) for width in recipe.posthoc)
    }
    ema = jax.tree.map(lambda e, p: p + beta * (e - p), state.ema, state.g.params)
    try:
        carry = recipe.adapt(state.carry, log)
    except KeyError as e:
        raise UserError(f"adapt: no {e} in the carry, {sorted(state.carry)}, or in what every step logs, {sorted(log)}") from e
    same_carry("adapt", carry, state.carry)
    return state.replace(step=step, ema=ema, averages=averages, carry=carry), log | lazy


traced = jax.jit(update, static_argnames=("game", "recipe", "due", "axis"))
"""`update`, traced once for each set of static arguments and shapes: the check before a run and its program share the trace."""

"""A training method as data: the parts of a step, their inputs and what they must return."""

import operator
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.errors import UserError
from jaxgan.typing import Array, Critic, Scalar, ScalarOrSchedule, Tree


class Verdict(NamedTuple):
    """A discriminator's outputs for a batch of images."""

    logits: Array
    """[B], or [B, h, w] of patches."""
    classes: Array | None = None
    """[B, K], logits of an auxiliary class head."""
    features: Tree | None = None
    """[B, ...], a hidden layer, for losses that compare features; or a tree of layers, for terms of your own."""


class Game(NamedTuple):
    """The two networks as pure functions; each returns its output and the complete new statistics.

    variables: `{'params': ..., **stats}`; keys: typed keys [B], one per image; c: labels [B], label vectors [B, K], source
    images, or None; axis: the name of the device axis, or None; refresh: static, True in the one call per turn that
    updates what depends on the weights alone (spectral norm's vectors).
    """

    latent: Callable[..., tuple[Tree, Tree]]
    """(variables, keys, c, kimg, axis, refresh) -> w [B, ...], stats"""
    synthesize: Callable[..., tuple[Array, Tree]]
    """(variables, keys, w, c, kimg, axis, refresh) -> x [B, H, W, C], stats"""
    judge: Callable[..., tuple[Verdict, Tree]]
    """(variables, keys, x, c, kimg, axis, refresh) -> verdict, stats"""
    augment: Callable[[Array, Array, Array, Critic], Array] = lambda keys, x, p, critic: x
    """(keys, x, p, critic) -> x: differentiable, applied inside every call of the discriminator; critic: x -> logits, the same
    discriminator with fixed parameters, on images that are not augmented"""
    p: Callable[[dict[str, Tree], Array], Any] = lambda carry, kimg: 0.0
    """(carry, kimg) -> augmentation probability []"""
    reals: Callable[[Array, Array], Array] = lambda x, kimg: x
    """(x [..., H, W, C], kimg) -> x: transforms the real images depending on progress, before any augmentation"""


class Round(NamedTuple):
    """The inputs of a term: one (micro-)batch on one device."""

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
    """(x, of='real' | 'fake', c=theirs, params=its own) -> Verdict: the discriminator with the augmentation draws that `of` had.
    Given B / k images, it uses those of every k-th image of the batch (x[::k], the same set on any number of devices); a given c
    must be that of these images."""
    S: Callable[..., Array]
    """(w, params=its own) -> x: the generator, differentiable in its parameters too; w[::k] as for D."""
    gather: Callable[[Array], Array]
    """[B, ...] -> [global B, ...]: over all devices, for losses that compare images with one another."""
    params: dict[str, Tree]
    """{'g': ..., 'd': ...}; differentiable with respect to the updated player's."""
    carry: dict[str, Tree]
    keys: Array
    """[B], one per image, specific to this term."""
    key: Array
    """[], specific to this term, the same on every device."""
    kimg: Array
    stats: dict[str, dict[str, Tree]] = {}
    """{'g': ..., 'd': ...}: the other collections of each, as `module.apply({'params': ..., **stats}, ...)` takes them."""


class Term(NamedTuple):
    """One summand of a player's loss."""

    name: str
    weight: ScalarOrSchedule
    fn: Callable[[Round], tuple[Scalar, dict[str, Any], dict[str, Any]]]
    """round -> loss [], new carry entries, log entries; of entries of one name, those of the term that comes last count"""
    every: int = 1
    """Lazy interval: the term is due every `every` steps, with its weight times `every`. A phase with none due is skipped."""
    share: int = 1
    """The term itself slices [::share]; declared here so that the images per device can be checked to be divisible by it."""


class Phase(NamedTuple):
    """One optimiser update of one player ('g' or 'd')."""

    player: str
    terms: tuple[Term, ...]


class Turn(NamedTuple):
    """Phases updated together, from the same parameters, noise and forward passes: of one player, or of both."""

    phases: tuple[Phase, ...]
    slots: tuple[int, ...] = (0,)
    """Which of the step's real batches it uses, one update each: n_critic is len(slots)."""
    extra: tuple[int, ...] = ()
    """Further real batches available to its terms as `Round.extra`."""


class Recipe(NamedTuple):
    """A training method."""

    turns: tuple[Turn, ...]
    tx: dict[str, optax.GradientTransformationExtraArgs]
    """{'g': ..., 'd': ...}; update(grads, opt, params, kimg=) -> updates, opt"""
    batch: int
    """Images of one update, over all devices: each slot holds as many, and a step counts as so many in kimg."""
    accum: int = 1
    """Micro-batches that the batch is split into; gradients and statistics are averaged, as over devices. Whatever compares the
    images of a batch (batch norm, minibatch stddev, relativistic averages, MMD) sees only a micro-batch, so it is not equivalent
    to the large batch; and the carry goes on from each to the next, so that running means in it (path length, LeCam) move once
    in each."""
    ema_kimg: ScalarOrSchedule = 10.0
    """Half-life of the generator's weight average, in kimg."""
    posthoc: tuple[float, ...] = ()
    """Relative widths of further averages, in (0, 0.2887): from two, saved now and then, any other follows (`jaxgan.average`)."""
    carry: dict[str, Tree] = {}
    """Initial values of the state of the terms and of `adapt`: numbers, arrays, or trees of these. A number is float32; an array
    keeps its type, but for float64. What a term returns is averaged over the devices (of integers the largest is taken): let it
    be a mean over its images, or of what `Round.gather` gives."""
    adapt: Callable[[dict[str, Tree], dict[str, Array]], dict[str, Tree]] = lambda carry, log: carry
    """(carry, log) -> carry, called after all turns (the ADA controller); the log has that of terms with every=1 alone."""
    held_slots: tuple[int, ...] = ()
    """Slots whose images are held out: they never appear in other slots."""

    def __hash__(self) -> int:  # tx and carry are dicts; equal recipes have equal hashes
        return hash((self.turns, tuple(self.tx), self.batch, self.accum))

    def __eq__(self, other: object) -> bool:  # arrays of the carry have no truth value
        if self is other or not isinstance(other, Recipe):
            return self is other
        (mine, tree), (theirs, same) = (jax.tree.flatten(recipe.carry) for recipe in (self, other))
        alike = lambda a, b: a is b or np.array_equal(a, b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
        rest = (tuple(recipe._replace(carry={})) for recipe in (self, other))
        return operator.eq(*rest) and tree == same and all(map(alike, mine, theirs))

    def __ne__(self, other: object) -> bool:
        return not self == other

    @property
    def slots(self) -> int:
        return 1 + max(s for turn in self.turns for s in (*turn.slots, *turn.extra))


def alternating(d: Sequence[Term], g: Sequence[Term], n_critic: int = 1, own: int = 0) -> tuple[Turn, Turn]:
    """The turns of most methods: D's terms on each of the real batches 0 to n_critic - 1, then G's on the batch `own`."""
    return Turn((Phase("d", tuple(d)),), tuple(range(n_critic))), Turn((Phase("g", tuple(g)),), (own,))


def check(recipe: Recipe) -> None:
    """Raise UserError if a recipe is invalid."""
    _tuple_of(Turn, recipe.turns, "Recipe.turns")
    for turn in recipe.turns:
        _tuple_of(Phase, turn.phases, "Turn.phases")
        _tuple_of(int, turn.slots, "Turn.slots")
        for phase in turn.phases:
            _tuple_of(Term, phase.terms, "Phase.terms")
        players = [phase.player for phase in turn.phases]
        if not set(players) <= {"g", "d"} or len(set(players)) != len(players):
            raise UserError(f"a turn updates 'g', 'd' or both, once each; this one updates {players}")
        for phase in turn.phases:
            names = [term.name for term in phase.terms]
            if len(set(names)) != len(names):
                raise UserError(f"the terms of a phase need distinct names; these are {names}")
            if not all(isinstance(n, Integral) and n >= 1 for term in phase.terms for n in (term.every, term.share)):
                raise UserError(f"every and share must be whole numbers of at least 1 in the terms {names}")
            for term in phase.terms:
                if not (callable(term.weight) or isinstance(term.weight, Real | Array)):
                    raise UserError(f"{term.name}: its weight is {term.weight!r}; give a number or a function of kimg")
    used = {s for turn in recipe.turns for s in (*turn.slots, *turn.extra)}
    if any(s in recipe.held_slots for turn in recipe.turns for s in turn.slots):
        raise UserError(f"no turn may train on the held-out slots {recipe.held_slots}; terms access them through `extra`")
    if used != set(range(recipe.slots)):
        raise UserError(f"slots must be 0, 1, ... without a gap; the turns use {sorted(used)}")
    for name in ("batch", "accum"):
        if not isinstance(n := getattr(recipe, name), Integral) or n < 1:
            raise UserError(f"{name} is {n!r}; give a whole number of at least 1")
    if recipe.batch % recipe.accum:
        raise UserError(f"batch {recipe.batch} does not divide into {recipe.accum} micro-batches")
    if not callable(recipe.ema_kimg) and recipe.ema_kimg < 0:
        raise UserError(f"ema_kimg {recipe.ema_kimg:g}: a half-life is 0 or more thousand images; 0 is no average")
    if not isinstance(recipe.tx, dict) or set(recipe.tx) != {"g", "d"}:
        has = sorted(recipe.tx) if isinstance(recipe.tx, dict) else f"a {type(recipe.tx).__name__}"
        raise UserError(f"tx has optimisers for {has}; give one for 'g' and one for 'd', as in {{'g': ..., 'd': ...}}")
    for entry in jax.tree.leaves(recipe.carry):
        kind = getattr(entry, "dtype", None)
        if not isinstance(entry, Real) and (kind is None or jax.dtypes.issubdtype(kind, jax.dtypes.extended)):
            kind = kind or type(entry).__name__
            raise UserError(f"Recipe.carry holds a {kind}; give numbers, arrays (of a key its key_data), or trees of these")
    for player, tx in recipe.tx.items():
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise UserError(f"tx[{player!r}] is {tx!r:.60}; give an optimiser, such as optax.adam(1e-3)")


def _tuple_of(kind: type, found, name: str) -> None:
    if type(found) is not tuple or not found or not all(isinstance(one, kind) for one in found):
        raise UserError(f"{name} must be a tuple of {kind.__name__}, as in (one,); it is {found!r:.80}")


def checked(name: str, out: Any, carry: dict[str, Tree]) -> tuple[Scalar, dict[str, Tree], dict[str, Any]]:
    """A term's result; UserError naming the term unless it is (loss, carry entries, log entries)."""
    if not (isinstance(out, tuple) and len(out) == 3 and all(isinstance(part, dict) for part in out[1:])):
        raise UserError(f"{name}: a term returns (loss [], new carry entries, log entries), the last two dicts")
    value, new, notes = out
    _scalars(name, {"its loss": value} | notes)
    same_carry(name, carry | new, carry)
    return out


def _scalars(name: str, arrays: dict[str, Any]) -> None:
    for entry, array in arrays.items():
        if jnp.shape(array):
            raise UserError(f"{name}: {entry} has the shape {jnp.shape(array)}; average it to a scalar []")


def same_carry(name: str, new: dict[str, Tree], old: dict[str, Tree]) -> None:
    """UserError if the carry's entries changed: the next step would need another program, or fail."""
    if new.keys() != old.keys():
        raise UserError(f"{name}: the carry holds {sorted(new)}, but Recipe.carry has initial values for {sorted(old)}")
    kinds = lambda tree: {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{jnp.asarray(a).dtype} {jnp.shape(a)}"
        for path, a in jax.tree_util.tree_leaves_with_path(tree)
    }
    now, was = kinds(new), kinds(old)
    for path in [*was, *now]:
        if was.get(path) != now.get(path):
            raise UserError(f"{name}: {path!r} was {was.get(path, 'not there')} and became {now.get(path, 'nothing')}")
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise UserError(f"{name}: the carry's trees were {jax.tree.structure(old)} and became {jax.tree.structure(new)}")

"""Both feeds give the images that `stream.indices` names, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import feed
from jaxgan.data import Source, read_all, shuffled, stream


def source(n=10, labels=True):
    images = np.arange(n * 4 * 3, dtype=np.uint8).reshape(n, 4, 3, 1)
    return Source(
        name="drawn",
        shape=(4, 3, 1),
        n=n,
        read=lambda i: images[i],
        labels=np.arange(n, dtype=np.int32) if labels else None,
        classes=n if labels else 0,
        class_names=(),
        fingerprint="",
    )


def expected(src, layout, step):
    images = layout.n * (2 if layout.mirror else 1)
    order = stream.indices(layout.seed, step, layout.slots * layout.accum * layout.micro, images)
    x = src.read(order % src.n)
    x = np.where((order < src.n)[:, None, None, None], x, x[:, :, ::-1])
    return x.reshape(layout.slots, layout.accum, layout.micro, *src.shape), src.labels[order % src.n].reshape(
        layout.slots, layout.accum, layout.micro
    )


def test_long_division_is_exact_where_the_product_overflows():
    divide = jax.jit(feed.divmod_step, static_argnums=(1, 2))
    rng = np.random.default_rng(0)
    for times, n in ((64, 1797), (5 * 4096, 60_000), (8192, 2**30 - 1), (3, 2), (70_000, 7)):
        for step in (0, 1, 2**31 - 1, *rng.integers(0, 2**31, 20)):
            q, r = divide(jnp.int32(step), times, n)
            whole, part = divmod(int(step) * times, n)
            assert (int(q), int(r)) == (whole % 2**32, part)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_resident_feed_draws_on_the_device_what_the_stream_says(mirror, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    seed = 2**31 + 7 if mirror else 7
    src, layout = source(), feed.Layout(seed=seed, n=10, slots=2, accum=2, micro=3, mirror=mirror)
    f = feed.open_feed(src, layout, resident=True)
    take = jax.jit(lambda held, k: f.take(held, k, None))
    with jax.transfer_guard_host_to_device("allow"):
        for k in (0, 1, 2, 1000):
            held, number = f.at(k), jnp.int32(k)
            with jax.transfer_guard("disallow"):  # nothing is sent: images, labels and indices are on the device
                x, c = take(held, number)
            want_x, want_c = expected(src, layout, k)
            np.testing.assert_array_equal(x, want_x)
            np.testing.assert_array_equal(c, want_c)


@pytest.mark.parametrize("resident", [True, False])
def test_all_seeds_share_one_program(resident, monkeypatch):
    """It is an argument: of every seed of a table the step would be compiled anew, which may take minutes."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    made = set()
    for seed in (0, 2**32 - 1):
        layout = feed.Layout(seed=seed, n=10, slots=2, accum=1, micro=3, mirror=True, held=4, held_slots=(1,), jitter=1)
        f = feed.open_feed(source(), layout, resident=resident)
        made.add(jax.jit(lambda held, k, f=f: f.take(held, k, None)).lower(f.at(0), jnp.int32(0)).as_text())
        f.close()
    assert len(made) == 1


@pytest.mark.parametrize("backend, devices, copies", [("cpu", 1, 1), ("cpu", 3, 3), ("gpu", 3, 1)])
def test_a_set_is_resident_where_it_fits_and_a_cpus_devices_share_its_memory(backend, devices, copies, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    src = source()
    for both, size in ((src, 10 * 12), (src._replace(inputs=src._replace(shape=(4, 3, 3))), 10 * 12 * 4)):
        for room, does in ((size * copies, True), (size * copies - 1, False)):
            monkeypatch.setattr(feed, "RESIDENT_BYTES", room)
            assert feed.stays(both, "auto") == does and feed.stays(both, "yes") and not feed.stays(both, "no")


@pytest.mark.parametrize("devices", [1, 2])
def test_the_streamed_feed_is_the_same_images(devices, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:devices])
    src, layout = source(), feed.Layout(seed=7, n=10, slots=2, accum=1, micro=4, mirror=True)
    f = feed.open_feed(src, layout, resident=False, ahead=2)
    for k in (0, 1, 2, 9, 10):  # a jump, as at a resumption
        x, c = jax.device_get(f.take(f.at(k), None, None))
        if devices > 1:
            assert x.shape == (2, 2, 1, 2, 4, 3, 1)
            x, c = np.concatenate(x, axis=2), np.concatenate(c, axis=2)
        want_x, want_c = expected(src, layout, k)
        np.testing.assert_array_equal(x, want_x)
        np.testing.assert_array_equal(c, want_c)
    f.close()


def test_streamed_pairs_are_cut_by_images(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:2])
    f = feed.open_feed(pairs(), feed.Layout(seed=7, n=10, slots=1, accum=1, micro=6), resident=False)
    x, c, _ = jax.device_get(f.at(3))
    f.close()
    assert x.shape == c.shape == (2, 1, 1, 3, 4, 3, 1) and (c == 255 - x).all() and not f.resident
    np.testing.assert_array_equal(np.concatenate(x, 2)[0, 0], pairs().read(stream.indices(7, 3, 6, 10)))


def test_an_unlabelled_source_has_no_labels(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    layout = feed.Layout(seed=0, n=10, slots=1, accum=1, micro=4)
    for resident in (True, False):
        f = feed.open_feed(source(labels=False), layout, resident=resident)
        assert f.take(f.at(0), jnp.int32(0), None)[1] is None and f.resident == resident
        f.close()


@pytest.mark.parametrize("resident", [True, False])
def test_held_out_images_are_never_trained_on(resident, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    layout = feed.Layout(seed=1, n=10, slots=3, accum=1, micro=4, held=3, held_slots=(1,))
    f = feed.open_feed(source(), layout, resident=resident)
    take = jax.jit(lambda given, k: f.take(given, k, None))
    trained, held = [], []
    for k in range(30):
        _, c = take(f.at(k), jnp.int32(k))
        trained += [*np.asarray(c[0]).ravel(), *np.asarray(c[2]).ravel()]
        held += [*np.asarray(c[1]).ravel()]
    f.close()
    assert set(held) == {7, 8, 9} and set(trained) == set(range(7))
    assert set(np.bincount(trained)[:7]) <= {34, 35}  # 240 draws of 7 images, each epoch all of them


def test_either_feed_has_the_same_held_out_images(monkeypatch):
    """Also of the last seed, after which comes 0: one counts in Python, the other on the device."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    layout = feed.Layout(seed=2**32 - 1, n=10, slots=2, accum=1, micro=4, held=4, held_slots=(1,))
    made = []
    for resident in (True, False):
        f = feed.open_feed(source(), layout, resident=resident)
        take = jax.jit(lambda held, k, f=f: f.take(held, k, None))
        made.append([np.asarray(take(f.at(k), jnp.int32(k))[0]) for k in (0, 1, 7)])
        f.close()
    np.testing.assert_array_equal(*made)


def test_held_out_images_are_drawn_in_an_order_of_their_own():
    """As many as are trained on: with one seed for both, each would always meet the same partner."""
    layout = feed.Layout(seed=1, n=32, slots=2, accum=1, micro=16, held=16, held_slots=(1,))
    assert layout.parts == [feed.Part((0,), 0, 16, 1), feed.Part((1,), 16, 16, 2)]
    assert layout._replace(seed=2**32 - 1).parts[1].seed == 0
    drawn = lambda step: lambda seed, n, per_step, offsets: stream.indices(seed, step, per_step, n)[offsets]
    for step in range(2):
        index, _ = feed.chosen(layout, 16, 0, drawn(step), np)
        trained, held = index[:, 0]
        assert set(trained) == set(range(16)) and set(held) == set(range(16, 32)) and (held - 16 == trained).sum() < 8


def pairs(n=10):
    """Targets with the source images 255 - target, so that what moves one alone is seen."""
    targets = source(n, labels=False)
    return targets._replace(inputs=targets._replace(read=lambda i: 255 - targets.read(i)))


@pytest.mark.parametrize("jitter", [0, 2])
def test_source_images_move_with_their_targets(jitter, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    layout = feed.Layout(seed=7, n=10, slots=2, accum=2, micro=3, mirror=True, jitter=jitter)
    made = {}
    for resident in (True, False):
        f = feed.open_feed(pairs(), layout, resident=resident)
        take = jax.jit(lambda held, k, f=f: f.take(held, k, None))
        made[resident] = [jax.device_get(take(f.at(k), jnp.int32(k))) for k in (0, 1, 4)]
        f.close()
    for k, (x, c), (again, c_again) in zip((0, 1, 4), made[True], made[False], strict=True):
        assert x.dtype == c.dtype == np.uint8 and np.abs(255 - x.astype(int) - c).max() <= bool(jitter)
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(c, c_again)
        plain = pairs().read(stream.indices(7, k, 12, 20) % 10).reshape(x.shape)
        flipped = (stream.indices(7, k, 12, 20) >= 10).reshape(x.shape[:3])
        plain = np.where(flipped[..., None, None, None], plain[..., ::-1, :], plain)
        assert (x == plain).all() == (jitter == 0)


@pytest.mark.parametrize("resident", [True, False])
def test_source_images_of_several_ways_take_turns_after_every_epoch(resident, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    targets, mixed = pairs(), lambda source: shuffled(source, 2)
    read = lambda i: targets.inputs.read(i % 10) - np.uint8(i // 10)[:, None, None, None]  # the way is subtracted
    both = mixed(targets._replace(inputs=targets.inputs._replace(read=read, ways=3)))
    f = feed.open_feed(both, feed.Layout(seed=7, n=10, slots=1, accum=1, micro=5, mirror=True), resident=resident)
    take = jax.jit(lambda held, k: f.take(held, k, None))
    for k, way in enumerate((0, 0, 1, 1, 2, 2, 0)):
        x, c = jax.device_get(take(f.at(k), jnp.int32(k)))
        np.testing.assert_array_equal(255 - x - c, np.full(x.shape, way, np.uint8))
    f.close()
    assert len(read_all(both.inputs)) == 30 and len(read_all(both)) == 10


@pytest.mark.parametrize("resident", [True, False])
def test_unpaired_images_are_their_own_source_images_read_once(resident, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    layout = feed.Layout(seed=7, n=10, slots=2, accum=2, micro=3, mirror=True, jitter=2)
    plain = source(labels=False)
    both = plain._replace(inputs=plain._replace(read=None), sides=(plain, plain))  # of which nothing can be read again
    monkeypatch.setattr(feed, "RESIDENT_BYTES", 10 * 12)
    assert feed.stays(both, "auto")
    f, alone = (feed.open_feed(s, layout, resident=resident) for s in (both, plain))
    (x, c), (want, _) = (feed_.take(feed_.at(3), jnp.int32(3), None) for feed_ in (f, alone))
    f.close()
    alone.close()
    assert np.ptp(x) > 0
    np.testing.assert_array_equal(x, want)
    np.testing.assert_array_equal(c, want)


def test_jitter_cuts_an_enlarged_image_at_every_place():
    """Against PIL's bicubic enlargement of 16 to 20 pixels, cut at all 5 x 5 places."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    large = np.asarray(Image.fromarray(image.astype(np.float32)).resize((20, 20), Image.Resampling.BICUBIC))
    cuts = np.stack([large[i : i + 16, j : j + 16] for i in range(5) for j in range(5)])
    layout = feed.Layout(seed=0, n=1, slots=1, accum=1, micro=200, jitter=4)
    x = np.broadcast_to(image[..., None], (1, 1, 200, 16, 16, 1))
    cut, c = jax.jit(lambda x: feed.jittered(layout, (x, None), jnp.int32(3), None))(x)
    distances = np.abs(np.clip(cuts, 0, 255) - np.asarray(cut).reshape(200, 1, 16, 16)).max((2, 3))
    assert c is None and distances.min(1).max() <= 0.51 and set(distances.argmin(1)) == set(range(25))


def test_jitter_belongs_to_the_image_not_to_the_device(monkeypatch):
    layout = feed.Layout(seed=1, n=9, slots=2, accum=1, micro=4, jitter=3)
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 4, 8, 6, 1), np.uint8)
    cut = jax.jit(lambda x, k: feed.jittered(layout, (x, x), k, None))
    whole = cut(x, jnp.int32(5))
    halves = jnp.stack([x[:, :, :2], x[:, :, 2:]])
    parts = jax.jit(jax.vmap(lambda x: feed.jittered(layout, (x, x), jnp.int32(5), "d"), axis_name="d"))(halves)
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, jnp.concatenate([*two], 2))
    np.testing.assert_array_equal(*whole)
    assert (cut(x, jnp.int32(6))[0] != whole[0]).any()

"""ops: convolutions against a float64 loop and jax.lax, resampling against jax.image, the hash against statistics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import stats

from jaxgan import conv_rules, ops, resample
from tests.shared import draw


def conv_reference(x, k, stride, pads):
    """y[i, j] = sum x[stride i + s - low, stride j + t - low] k[s, t], in float64 loops."""
    x, k = np.pad(np.float64(x), ((0, 0), *pads, (0, 0))), np.float64(k)
    h, w = ((n - m) // stride + 1 for n, m in zip(x.shape[1:3], k.shape[:2], strict=True))
    y = np.zeros((len(x), h, w, k.shape[3]))
    for i, j in itertools.product(range(h), range(w)):
        patch = x[:, i * stride : i * stride + k.shape[0], j * stride : j * stride + k.shape[1]]
        y[:, i, j] = np.tensordot(patch, k, 3)
    return y


def transpose_reference(x, k, stride, padding):
    """y[stride i + s - low] += x[i] k[s], in float64 loops; TensorFlow's alignment."""
    x, k = np.float64(x), np.float64(k)
    b, h, w, _ = x.shape
    kh, kw, _, cout = k.shape
    extra = max(kh - stride, 0), max(kw - stride, 0)
    y = np.zeros((b, h * stride + extra[0], w * stride + extra[1], cout))
    for i, j, s, t in itertools.product(range(h), range(w), range(kh), range(kw)):
        y[:, i * stride + s, j * stride + t] += x[:, i, j] @ k[s, t]
    if padding == "SAME":
        top, left = extra[0] // 2, extra[1] // 2
        y = y[:, top : top + h * stride, left : left + w * stride]
    return y


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 3), (4, 4), (5, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (2, 1))])
def test_conv(size, stride, padding):
    x, k = draw(0, 2, 7, 6, 3), draw(1, *size, 3, 2)
    pads = padding
    if padding == "VALID":
        pads = ((0, 0), (0, 0))
    elif padding == "SAME":
        pads = lax.padtype_to_pads(x.shape[1:3], size, (stride, stride), "SAME")
    expected = conv_reference(x, k, stride, pads)
    y = ops.conv(x, k, stride=stride, padding=padding)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 3), (4, 4), (5, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv_transpose(size, stride, padding):
    x, k = draw(0, 2, 3, 4, 3), draw(1, *size, 3, 2)
    expected = transpose_reference(x, k, stride, padding)
    y = ops.conv_transpose(x, k, stride=stride, padding=padding)
    if padding == "SAME":
        assert y.shape == (2, 3 * stride, 4 * stride, 2)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("size, stride", [(5, 2), (4, 2), (3, 2), (2, 3)])
def test_conv_transpose_is_lax_conv_transpose_with_a_flipped_kernel_where_their_crops_agree(size, stride):
    x, k = draw(0, 2, 3, 4, 3), draw(1, size, size, 3, 2)
    theirs = lax.conv_transpose(x, k[::-1, ::-1], (stride,) * 2, "VALID", dimension_numbers=ops.LAYOUT)
    np.testing.assert_allclose(ops.conv_transpose(x, k, stride=stride, padding="VALID"), theirs, atol=1e-5)


def plain_transpose(x, k, stride):
    """The same map by lax primitives alone, with JAX's own derivatives: zero insertion, then a flipped kernel."""
    pads = []
    for n, m in zip(k.shape[:2], x.shape[1:3], strict=True):
        before = n - 1 - max(n - stride, 0) // 2
        pads.append((before, m * stride + n - 1 - ((m - 1) * stride + 1) - before))
    return lax.conv_general_dilated(x, k[::-1, ::-1], (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=ops.LAYOUT)


def plain_conv(x, k, stride):
    return lax.conv_general_dilated(x, k, (stride, stride), "SAME", dimension_numbers=ops.LAYOUT)


PAIRS = {
    "transpose": (lambda x, k, s: ops.conv_transpose(x, k, stride=s), plain_transpose, (3, 4)),
    "conv": (lambda x, k, s: ops.conv(x, k, stride=s), plain_conv, (6, 8)),
}


@pytest.mark.parametrize("which", PAIRS)
@pytest.mark.parametrize("size", [5, 4])
def test_first_and_second_derivatives_are_jaxs(which, size):
    ours, plain, grid = PAIRS[which]
    x, k = draw(0, 2, *grid, 3), 0.3 * draw(1, size, size, 3, 2)

    def first(f):
        return jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k, 2))), (0, 1))

    def second(f):  # like R1, reverse over reverse, and through both arguments: every rule's own derivative is used
        return jax.grad(lambda x, k: sum(jnp.sum(jnp.sin(g)) for g in first(f)(x, k)), (0, 1))

    both = lambda f: jax.jit(lambda x, k: (first(f)(x, k), second(f)(x, k)))(x, k)
    for a, b in zip(jax.tree.leaves(both(ours)), jax.tree.leaves(both(plain)), strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


def test_vmap_jit_and_mapped_devices():
    x, k = draw(0, 4, 2, 3, 4, 3), draw(1, 4, 4, 3, 2)
    grad = jax.grad(lambda x, k: jnp.sum(ops.conv_transpose(x, k, stride=2) ** 2), (0, 1))
    expected = [grad(one, k) for one in x]
    for mapped in (jax.jit(jax.vmap(grad, (0, None))), jax.pmap(grad, in_axes=(0, None))):
        for i, leaves in enumerate(zip(*mapped(x, k), strict=True)):
            for a, b in zip(leaves, expected[i], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_backward_pass_has_no_dilated_left_operand_in_a_kernel_gradient():
    """The slow form on the CPU: a convolution with lhs_dilation whose output is a kernel."""
    x, k = draw(0, 2, 3, 4, 3), draw(1, 5, 5, 3, 2)
    jaxpr = jax.make_jaxpr(jax.grad(lambda k: jnp.sum(ops.conv_transpose(x, k, stride=2) ** 2)))(k)
    text = str(jaxpr)
    assert text.count("lhs_dilation=(2, 2)") == 1  # the forward pass itself
    assert str(jax.make_jaxpr(jax.grad(lambda k: jnp.sum(plain_transpose(x, k, 2) ** 2)))(k)).count("lhs_dilation=(2, 2)") == 2


@pytest.mark.parametrize(
    "shape, kernel, stride, padding",
    [
        ((2, 9, 8, 2), (4, 3, 2, 24), 2, "SAME"),
        ((3, 7, 10, 1), (5, 5, 1, 25), 3, ((0, 2), (3, 1))),
        ((2, 8, 8, 3), (1, 3, 3, 9), 2, "VALID"),
        ((256, 8, 8, 2), (3, 3, 2, 18), 1, "SAME"),
    ],
)
def test_a_kernel_gradient_by_patches_is_laxs(shape, kernel, stride, padding, monkeypatch):
    x, k = draw(0, *shape), draw(1, *kernel)
    asked, by_patches = [], conv_rules.by_patches
    monkeypatch.setattr(conv_rules, "by_patches", lambda *args: asked.append(by_patches(*args)) or asked[-1])
    theirs = lambda x, k: lax.conv_general_dilated(x, k, (stride,) * 2, padding, dimension_numbers=ops.LAYOUT)

    def orders(f):
        first = jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))), (0, 1))
        return first(x, k), jax.grad(lambda x, k: sum(jnp.sum(g**2) for g in first(x, k)), (0, 1))(x, k)

    ours = orders(lambda x, k: ops.conv(x, k, stride=stride, padding=padding))
    assert asked and all(asked) == (jax.default_backend() == "cpu")
    for a, b in zip(*(jax.tree.leaves(each) for each in (ours, orders(theirs))), strict=True):
        assert np.abs(a - b).max() < 2e-5 * np.abs(b).max()


@pytest.mark.parametrize("stride, padding", [(1, "SAME"), (2, "SAME"), (2, ((2, 0), (1, 3)))])
@pytest.mark.parametrize("apart", [(), ("cpu",)])
@pytest.mark.parametrize("block", [None, 2, 5, 32])
def test_grouped_conv_is_each_group_alone(stride, padding, apart, block, monkeypatch):
    """As XLA's grouped one and in blocks: of one group, of as many as fit and divide (two of six), of all."""
    monkeypatch.setitem(ops.BLOCK, jax.default_backend(), block)
    monkeypatch.setattr(ops, "APART", apart)
    x, k = draw(0, 2, 5, 4, 12), draw(1, 3, 3, 2, 18)
    options = {"stride": stride, "padding": padding}
    y = ops.conv(x, k, groups=6, **options)
    for i in range(6):
        alone = ops.conv(x[..., 2 * i : 2 * i + 2], k[..., 3 * i : 3 * i + 3], **options)
        np.testing.assert_allclose(y[..., 3 * i : 3 * i + 3], alone, atol=1e-5)
    theirs = lambda k: lax.conv_general_dilated(x, k, (stride,) * 2, padding, dimension_numbers=ops.LAYOUT, feature_group_count=6)
    ours = jax.grad(lambda k: jnp.sum(jnp.sin(ops.conv(x, k, groups=6, **options))))(k)
    np.testing.assert_allclose(ours, jax.grad(lambda k: jnp.sum(jnp.sin(theirs(k))))(k), atol=1e-4)
    widest = min(6, max(1, block // 2)) * 2 if block else 2
    assert f"3,3,{widest},18]" in str(jax.make_jaxpr(lambda k: ops.conv(x, k, groups=6, **options))(k))


@pytest.mark.parametrize("stride", [1, 2])
def test_on_a_gpu_no_bias_joins_a_grouped_convolution_in_float32(stride, monkeypatch):
    """There a barrier keeps them apart; derivatives of both orders are those of XLA's grouped convolution."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, k = draw(0, 2, 5, 4, 6), draw(1, 3, 3, 2, 9)
    ours = lambda x, k: ops.conv(x, k, stride=stride, groups=3)
    theirs = lambda x, k: lax.conv_general_dilated(
        x, k, (stride,) * 2, "SAME", dimension_numbers=ops.LAYOUT, feature_group_count=3
    )
    kept = lambda x, k, groups: str(jax.make_jaxpr(lambda x, k: ops.conv(x, k, groups=groups))(x, k)).count("barrier")
    half = x.astype(jnp.bfloat16), k.astype(jnp.bfloat16)
    assert kept(x, k, 3) == 1 and kept(*half, 3) == 0 and kept(x, draw(1, 3, 3, 6, 9), 1) == 0
    first = lambda f: jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))), (0, 1))
    second = lambda f: jax.grad(lambda x, k: sum(jnp.sum(jnp.square(a)) for a in first(f)(x, k)), (0, 1))
    for of in (first, second):
        for a, b in zip(of(ours)(x, k), of(theirs)(x, k), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


def test_on_a_tpu_groups_are_joined_and_images_resampled_by_products(monkeypatch):
    """Sixteen groups of 32 channels are four of 128 there, in one convolution."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    x, k = draw(0, 1, 3, 3, 512), draw(1, 3, 3, 32, 512)
    ours = lambda x, k: ops.conv(x, k, groups=16)
    theirs = lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=ops.LAYOUT, feature_group_count=16)
    text = str(jax.make_jaxpr(ours)(x, k))
    assert text.count("conv_general_dilated") == 1 and "feature_group_count=4" in text
    np.testing.assert_allclose(ours(x, k), theirs, atol=1e-5 * float(jnp.abs(theirs).max()))
    assert "dot_general" in str(jax.make_jaxpr(resample.upsample)(x))


def test_on_a_gpu_the_input_gradient_of_a_strided_convolution_reverses_the_kernel_as_it_is(monkeypatch):
    """A barrier stands between a kernel's factor and its reversal; derivatives of both orders, batched too, are XLA's own."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, k = draw(0, 2, 5, 4, 6), draw(1, 3, 3, 6, 9)
    ours = lambda x, k: ops.conv(x, k * 0.1, stride=2)
    theirs = lambda x, k: lax.conv_general_dilated(x, k * 0.1, (2, 2), "SAME", dimension_numbers=ops.LAYOUT)
    gradient = lambda f: jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))))
    lines = str(jax.make_jaxpr(gradient(ours))(x, k)).splitlines()
    kept = [line.split(":")[0].strip() for line in lines if "optimization_barrier" in line]
    assert len(kept) == 1 and sum("= rev[" in line and line.endswith(f" {kept[0]}") for line in lines) == 1
    assert "barrier" not in str(jax.make_jaxpr(gradient(lambda x, k: ops.conv(x, k * 0.1)))(x, k))
    second = lambda f: jax.grad(lambda x, k: jnp.sum(jnp.square(gradient(f)(x, k))), (0, 1))
    batched = lambda f: jax.vmap(lambda k: gradient(f)(x, k))
    stacked = jnp.stack([k, -k, 2 * k])
    found = [(gradient(f)(x, k), *second(f)(x, k), batched(f)(stacked)) for f in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("size", [(3, 3), (5, 2), (4, 4), (1, 3), (1, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (0, 3))])
def test_gradients_of_wide_convolutions(size, padding):
    """From 32 channels on a CPU has ways of its own: of the kernel gradient, and of a 1x1 convolution."""
    x, k = draw(0, 2, 7, 6, 32), draw(1, *size, 32, 3) / 8
    plain = lambda x, k: lax.conv_general_dilated(x, k, (1, 1), padding, dimension_numbers=ops.LAYOUT)
    ours = lambda x, k: ops.conv(x, k, padding=padding)
    first = lambda f: jax.jit(jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k))), (0, 1)))
    second = lambda f: jax.jit(jax.grad(lambda x, k: sum(jnp.sum(jnp.square(a)) for a in first(f)(x, k)), (0, 1)))
    for of in (first, second):
        for theirs, a in zip(of(plain)(x, k), of(ours)(x, k), strict=True):
            np.testing.assert_allclose(a, theirs, rtol=1e-4, atol=1e-5 * float(jnp.abs(theirs).max()))


def test_a_strided_1x1_convolution_skips_pixels():
    x, k = draw(0, 2, 7, 6, 4), draw(1, 1, 1, 4, 3)
    for stride in (2, 3):
        theirs = lax.conv_general_dilated(x, k, (stride,) * 2, "SAME", dimension_numbers=ops.LAYOUT)
        np.testing.assert_allclose(ops.conv(x, k, stride=stride), theirs, rtol=1e-5, atol=1e-5)


def test_stride_one_keeps_forward_mode():
    x, k = draw(0, 1, 4, 4, 2), draw(1, 3, 3, 2, 2)
    for f in (ops.conv, ops.conv_transpose):
        y, t = jax.jvp(lambda k, f=f: f(x, k, stride=1), (k,), (k,))
        np.testing.assert_allclose(y, t, rtol=1e-6)


def test_upsample2_is_bilinear():
    x = draw(0, 2, 5, 3, 2)
    expected = jax.image.resize(x, (2, 10, 6, 2), "bilinear")
    np.testing.assert_allclose(ops.upsample2(x), expected, atol=1e-6)
    np.testing.assert_allclose(ops.upsample2(jnp.ones((1, 1, 1, 1))), 1.0)
    pull = lambda f: jax.vjp(f, x)[1](expected)[0]
    np.testing.assert_allclose(pull(ops.upsample2), pull(lambda x: jax.image.resize(x, (2, 10, 6, 2), "bilinear")), atol=1e-5)


def test_downsample2_is_the_mean_of_squares():
    x = draw(0, 2, 4, 6, 3)
    expected = np.float64(x).reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(ops.downsample2(x), expected, atol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(ops.downsample2(x)[0, 1, 2]))(x)
    assert np.count_nonzero(gradient) == 12 and gradient[0, 2, 4, 0] == 0.25


def test_resampling_gradients_hold_no_convolution_and_no_gather():
    x = draw(0, 1, 4, 4, 2)
    for f in (ops.upsample2, ops.downsample2):
        text = str(jax.make_jaxpr(jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2)))(x))
        assert "conv" not in text.replace("convert", "") and "gather" not in text and "scatter" not in text


def test_space_to_depth_and_back():
    x = draw(0, 2, 6, 4, 3)
    y = ops.space_to_depth(x, 2)
    assert y.shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(y[1, 2, 0], np.concatenate([x[1, 4, 0], x[1, 4, 1], x[1, 5, 0], x[1, 5, 1]]))
    np.testing.assert_array_equal(ops.depth_to_space(y, 2), x)


KEYS = jax.random.split(jax.random.key(3), 64)


def test_hash_bits_are_uniform():
    bits = np.asarray(ops.hash_bits(KEYS, 5, (4096,)))
    assert bits.dtype == np.uint32 and bits.shape == (64, 4096)
    for shift in range(0, 32, 8):  # chi-square on each byte
        counts = np.bincount((bits >> shift).ravel() & 255, minlength=256)
        assert 1e-4 < stats.chisquare(counts).pvalue < 1 - 1e-4
    assert 1e-4 < stats.kstest(bits.ravel() / 2**32, "uniform").pvalue
    ones = np.stack([(bits >> i) & 1 for i in range(32)]).mean((1, 2))
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(bits.size)
    assert len(np.unique(bits)) > bits.size - 40  # birthday: 8 repeats expected among 2**18 of 2**32


def bit_matrix(words):
    """uint32 [n] -> float [n, 32] of +-1."""
    return ((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1) * 2.0 - 1


@pytest.mark.parametrize("other", ["image", "salt", "neighbour", "row", "counting keys"])
def test_hash_bits_are_independent(other):
    bits = np.asarray(ops.hash_bits(KEYS, 5, (64, 64)))
    if other == "image":
        a, b = bits[:-1], bits[1:]
    elif other == "salt":
        a, b = bits, np.asarray(ops.hash_bits(KEYS, 6, (64, 64)))
    elif other == "neighbour":
        a, b = bits[:, :, :-1], bits[:, :, 1:]
    elif other == "row":
        a, b = bits[:, :-1], bits[:, 1:]
    else:  # the worst input: raw keys that differ in their last bits only
        raw = np.stack([np.zeros(64), np.arange(64)], 1).astype(np.uint32)
        bits = np.asarray(ops.hash_bits(jax.random.wrap_key_data(raw, impl="threefry2x32"), 5, (64, 64)))
        a, b = bits[:-1], bits[1:]
    a, b = bit_matrix(a.ravel()), bit_matrix(b.ravel())
    correlation = a.T @ b / len(a)  # every bit with every bit: 1,024 of standard deviation 1 / sqrt(n)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(len(a))
    assert 0.9 < correlation.std() * np.sqrt(len(a)) < 1.1


def test_hash_bits_avalanche():
    """Flipping one bit of the element index flips every output bit half of the time."""
    bits = np.asarray(ops.hash_bits(KEYS, 1, (4096,)))
    for i in range(12):
        partner = np.arange(4096) ^ (1 << i)
        flips = (bit_matrix((bits ^ bits[:, partner]).ravel()) + 1).mean(0) / 2
        assert np.abs(flips - 0.5).max() < 5 * 0.5 / np.sqrt(bits.size / 2)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_hash_bits_of_an_image_depend_on_its_key_alone(impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), 6)
    bits = np.asarray(jax.jit(lambda k: ops.hash_bits(k, 9, (3, 5)))(keys))
    np.testing.assert_array_equal(bits[4:5], ops.hash_bits(keys[4:5], 9, (3, 5)))
    np.testing.assert_array_equal(bits[::-1], ops.hash_bits(keys[::-1], 9, (3, 5)))
    assert len(np.unique(bits)) == bits.size


def test_misuse_is_named():
    x, k = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
    for call, words in (
        (lambda: ops.conv(x[0], k), "x must be"),
        (lambda: ops.conv(x, k[0]), "kernel must be"),
        (lambda: ops.conv(x, jnp.ones((3, 3, 5, 2))), "2 channels"),
        (lambda: ops.conv(x, k, stride=0), "stride"),
        (lambda: ops.conv(x, k, groups=3), "groups"),
        (lambda: ops.conv(x, k.astype(jnp.bfloat16)), "bfloat16"),
        (lambda: ops.conv(x, k, padding="FULL"), "padding"),
        (lambda: ops.conv(x, jnp.ones((5, 5, 2, 2)), padding="VALID"), "does not fit"),
        (lambda: ops.conv_transpose(x, k, stride=2, padding=((1, 1), (1, 1))), "padding"),
        (lambda: ops.conv_transpose(x, jnp.ones((3, 3, 5, 2)), stride=2), "cin, cout"),
        (lambda: ops.upsample2(x[0]), "upsample2"),
        (lambda: ops.downsample2(x[:, :3]), "3x4"),
        (lambda: ops.space_to_depth(x, 3), "divide"),
        (lambda: ops.depth_to_space(x, 2), "divide"),
        (lambda: ops.hash_bits(jax.random.key(0), 1, (3,)), "typed key array"),
        (lambda: ops.hash_bits(jax.random.PRNGKey(0), 1, (3,)), "typed key array"),
        (lambda: ops.hash_bits(KEYS, 1, (2**16, 2**16)), "2\\*\\*32"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("padding", [1, (1, 1), "same"])
def test_a_padding_that_is_none_is_refused(padding):
    with pytest.raises(ValueError, match="conv: padding must be 'SAME', 'VALID'"):
        ops.conv(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), padding=padding)

"""A trained generator as one file with its weights: StableHLO, by `jax.export`, for JAX alone; or ONNX, without it."""

import importlib.util
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export

from jaxgan import backend, latents, onnx_graph
from jaxgan.errors import UserError
from jaxgan.typing import Variables

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_generator(generator: nn.Module, variables: Variables, *, platforms: Sequence[str] = PLATFORMS) -> bytes:
    """The generator as a serialised program, for batches of any size and each of the platforms.

    `jax.export.deserialize(data).call(...)` runs it where neither jaxgan nor Flax is installed; inside `jax.jit` it is
    compiled with what is around it. Its positional arguments are
      z: float32 [B, z_dim], standard normal;
      c: only of a generator with classes: label vectors float32 [B, classes], of a class its one-hot vector;
      psi: only of a generator with styles: float32 [], the truncation, 1 for none;
    or, of a generator that makes images from images, the sources as uint8 [B, H, W, C]. It gives uint8 [B, H, W, C].
    StyleGAN's noise is the fixed one ('const'), pix2pix's dropout is off.

    Args:
      generator: a module of `jaxgan.models`.
      variables: its {'params': ..., **stats}; they become constants of the program, in float32 as they are.
      platforms: what it will run on.
    Returns:
      The bytes of the file. JAX reads them for at least six months after the version that wrote them.
    Raises:
      UserError: a platform that is none of `PLATFORMS`, or flatbuffers is not installed.
    """
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms:
        raise UserError(f"platforms {' '.join(platforms) or 'is empty'}: give some of {', '.join(PLATFORMS)}")
    (batch,) = export.symbolic_shape("batch")
    fn, inputs = _program(generator, variables)
    arguments = [jax.ShapeDtypeStruct(tuple(batch if d == "batch" else d for d in s), dtype) for s, dtype in inputs.values()]
    return _serialised(fn, arguments, platforms)


def export_onnx(generator: nn.Module, variables: Variables) -> bytes:
    """The generator as an ONNX model, for batches of any size: for ONNX Runtime, in any language, on phones and web pages.

    Its inputs are the arguments of `export_generator`, by name: z, c and psi; or source, of a generator that makes images from
    images. Its output is images, uint8 [batch, H, W, C]. It computes in float32, whatever the generator's dtype.

    Args:
      generator: a module of `jaxgan.models`, or one of your own of the operations that `onnx_rules.RULES` knows.
      variables: its {'params': ..., **stats}; they become constants of the model.
    Returns:
      The bytes of the file, of operator set `onnx_graph.OPSET`.
    Raises:
      UserError: onnx is not installed, the generator has an operation that is not known, or weights of more than 2 GB.
    """
    generator = generator.clone(dtype=jnp.float32) if hasattr(generator, "dtype") else generator
    fn, inputs = _program(generator, variables)
    with backend.any_backend("onnx"):
        return onnx_graph.build(fn, inputs, "images", texts={name: SAID[name] for name in [*inputs, "images"]})


SAID = {
    "z": "standard normal",
    "c": "label vectors, of a class its one-hot vector",
    "psi": "the truncation, 1 for none",
    "source": "0 to 255, rows from the top, channels last",
    "images": "0 to 255, rows from the top, channels last",
}
"""What an ONNX file says about each input and about its output."""


def _program(generator, variables):
    """(the function that is exported, its arguments as {name: (shape, dtype)})."""
    if not generator.z_dim:
        shape = "batch", *generator.shape[:2], generator.source_channels
        return lambda x: _translated(generator, variables, x), {"source": (shape, jnp.uint8)}
    inputs = {"z": (("batch", generator.z_dim), jnp.float32)}
    if generator.classes:
        inputs["c"] = ("batch", generator.classes), jnp.float32
    if latents.has_styles(generator):
        inputs["psi"] = (), jnp.float32
    return lambda *given: _drawn(generator, variables, *given), inputs


def _serialised(fn, arguments, platforms) -> bytes:
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError('exporting needs flatbuffers: pip install "jaxgan[export]"')
    with backend.any_backend():
        return bytes(export.export(jax.jit(fn), platforms=platforms)(*arguments).serialize())


def _drawn(generator, variables, z, *rest):
    c, psi = (rest[0] if generator.classes else None), (rest[-1] if latents.has_styles(generator) else None)
    noise = "const" if latents.has_noise(generator) else None
    code = z if psi is None else generator.apply(variables, z, c, psi=psi, method="mapping")
    return latents.as_bytes(latents.render(generator, variables, code, c, None, noise))


def _translated(generator, variables, x):
    return latents.as_bytes(generator.apply(variables, x.astype(jnp.float32) / 127.5 - 1, train=False))

"""The last layer of a discriminator: from pooled features to the outputs that the losses need, selected by name.

Every discriminator here names its head "head", so that a loss can find the head's parameters (`proxies`).
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError, nearest
from jaxgan.layers import Embed, glorot_uniform
from jaxgan.spectral import SpectralDense, SpectralEmbed
from jaxgan.typing import AnyArray, Array, Judgement, Tree

KINDS = {
    "logit": "the logit alone: the discriminator does not see the class",
    "features": "as the default, and the features it judges by, to compare (feature matching)",
    "projection": "the logit plus the inner product of features and class vector (Miyato & Koyama 2018)",
    "classes": "a logit, and class logits [B, K] (AC-GAN, Odena et al. 2017)",
    "both": "the logit of 'projection' and the class logits of 'classes'",
    "multi_hinge": "class logits [B, K + 1], the last for fakes (MHingeGAN, Kavalerov et al. 2021)",
    "embedding": "a logit, and an embedding [B, E] to compare with the class's proxy (ReACGAN, Kang et al. 2021)",
}
"""The kinds of head and what each returns."""


class Head(nn.Module):
    """Features [B, F] -> logits [B], or (logits, class logits, features) for the class-conditional kinds.

    Fields:
      classes: 0, or the number of classes K (the length of label vectors).
      kind: of `KINDS`; "" is 'projection' with classes and 'logit' without.
      embed_dim: E of 'embedding'.
      spectral: every weight is spectrally normalised (except the proxies, of which only the direction matters).
      kernel_init: of the weights and of the class embedding.
    Parameters and arithmetic are float32: it is one product per batch.
    """

    classes: int = 0
    kind: str = ""
    embed_dim: int = 512
    spectral: bool = False
    kernel_init: Any = glorot_uniform

    @nn.compact
    def __call__(self, features: Array, c: AnyArray | None = None) -> Judgement:
        """The outputs.

        Args:
          features: [B, F], float.
          c: labels int [B] or vectors [B, K]; used only by 'projection' and 'both'.
        Returns:
          'logit', 'projection': logits [B], float32. 'features': (logits, None, features [B, F]). 'classes', 'both':
          (logits, class logits [B, K], features). 'multi_hinge': (largest real class's logit minus the fake's, class
          logits [B, K + 1], features). 'embedding': (logits, None, embedding [B, E]).
        Raises:
          UserError: an unknown kind, or one that needs classes where there are none.
        """
        kind = kind_of(self.kind, self.classes)
        features = features.astype(jnp.float32)
        if kind == "multi_hinge":
            scores = self._linear(self.classes + 1, "class_logits")(features)
            return scores[:, :-1].max(1) - scores[:, -1], scores, features
        logits = self._linear(1, "logit")(features)[:, 0]
        if kind in ("projection", "both") or (kind == "features" and self.classes):
            logits = logits + (features * self._table(features.shape[1])(c)).sum(1)
        if kind in ("logit", "projection"):
            return logits
        if kind == "features":
            return logits, None, features
        if kind == "embedding":
            self.param("proxies", nn.initializers.normal(1.0), (self.classes, self.embed_dim), jnp.float32)
            return logits, None, self._linear(self.embed_dim, "embedding")(features)
        return logits, self._linear(self.classes, "class_logits")(features), features

    def _linear(self, outputs, name):
        make = SpectralDense if self.spectral else nn.Dense
        return make(outputs, kernel_init=self.kernel_init, name=name)

    def _table(self, length):
        make = SpectralEmbed if self.spectral else Embed
        return make(self.classes, length, self.kernel_init, name="class_vectors")


def kind_of(kind: str, classes: int) -> str:
    """The kind meant by a field: `kind` itself, or the default for "".

    Raises:
      UserError: an unknown kind, or one that needs classes where there are none.
    """
    kind = kind or ("projection" if classes else "logit")
    if kind not in KINDS:
        raise UserError(f"there is no head {kind!r}; there are {', '.join(KINDS)}{nearest(kind, KINDS)}")
    if kind not in ("logit", "features") and not classes:
        raise UserError(f"head={kind!r} needs classes, and these images have none; take 'logit', or data with labels")
    return kind


def proxies(params: Tree) -> Array:
    """The class proxies [K, E] among a discriminator's parameters, for `terms.d2d_ce(proxies=heads.proxies)`.

    Raises:
      ValueError: its head is not of the kind 'embedding'.
    """
    if "proxies" not in params.get("head", {}):
        raise ValueError("this discriminator has no proxies; give it head='embedding'")
    return params["head"]["proxies"]

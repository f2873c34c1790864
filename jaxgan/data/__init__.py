"""Image sets as `Source`s, and the order in which a run sees their images. Never imports jax."""

from jaxgan.data.arrays import of_arrays
from jaxgan.data.open import open_source
from jaxgan.data.pairs import open_pairs
from jaxgan.data.source import Source, check_source, read_all, shuffled, summary
from jaxgan.data.unpaired import open_unpaired

__all__ = ["Source", "check_source", "of_arrays", "open_pairs", "open_source", "open_unpaired", "read_all", "shuffled", "summary"]

"""Augmentations of images: pure functions (key, x, p) -> x', differentiable, with one draw per image.

Conventions of every function here: `key` is one typed key (image i then uses fold_in(key, i)) or a key array [B] (image
i uses keys[i] only); x is [B, H, W, C], float32 or bfloat16, in [-1, 1], and keeps its dtype; p is the probability, a
float in [0, 1] or a traced scalar, with which a transform is applied to an image; an image without any is returned
unchanged, bit for bit.
"""

from jaxgan.augment.ada_geometry import wavelet_affine
from jaxgan.augment.ada_pipe import ADA_PRESETS, ADA_TRANSFORMS, AdaStrengths, ada
from jaxgan.augment.adaptive import ada_update, apa, apa_lambda, r_t, r_v
from jaxgan.augment.attention import attentive_crop, attentive_cutmix, attentive_cutout, keep_augment, saliency
from jaxgan.augment.diffaug import brightness, color, contrast, cutout, diffaugment, saturation, translation
from jaxgan.augment.early_blur import early_blur
from jaxgan.augment.geometry import crop, flip, geometric, rotate, scale
from jaxgan.augment.pipelines import NAMES, pipeline
from jaxgan.augment.resample import affine

__all__ = [
    "ADA_PRESETS",
    "ADA_TRANSFORMS",
    "NAMES",
    "AdaStrengths",
    "ada",
    "ada_update",
    "affine",
    "apa",
    "apa_lambda",
    "attentive_crop",
    "attentive_cutmix",
    "attentive_cutout",
    "brightness",
    "color",
    "contrast",
    "crop",
    "cutout",
    "diffaugment",
    "early_blur",
    "flip",
    "geometric",
    "keep_augment",
    "pipeline",
    "r_t",
    "r_v",
    "rotate",
    "saliency",
    "saturation",
    "scale",
    "translation",
    "wavelet_affine",
]

"""At what size `benchmarks.peers` times official code beside ours: small on a CPU, a published preset on a GPU. Plain data."""

R3GAN = {
    "cpu": {"side": 32, "channels": (64, 64, 64, 64), "groups": (8, 8, 8, 8), "blocks": (2, 2, 2, 2), "half": False},
    "gpu": {"side": 32, "channels": (768,) * 4, "groups": (96,) * 4, "blocks": (2,) * 4, "half": True},
}
"""The GPU's is the preset CIFAR10. Unlabelled, without augmentation; R1 and R2 in every step."""

STYLEGAN2 = {
    "cpu": {"side": 32, "latent": 128, "base": 2048, "most": 128, "mapping": 2, "half": False},
    "gpu": {"side": 256, "latent": 512, "base": 16384, "most": 512, "mapping": 8, "half": True},
}
"""The GPU's is `paper256`. Unlabelled, without augmentation; path length every 4 steps, R1 every 16: time multiples of 16."""

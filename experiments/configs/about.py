"""What `train CONFIG --help` says of a config: paper, what it takes, what to expect of it. More of each: docs/families.md.

Seconds are those of a run's steps on two idle CPU cores, of the table in docs/families.md; a program is compiled first, which
takes up to a minute, and snapshots come on top. GB are what one GPU needs, as compiled for an H100.
"""

SMALL = {
    "digits": (
        "R3GAN's recipe (Huang et al. 2024) at a size for a CPU.",
        "One minute; every class, varied.",
    ),
    "objective": (
        "The networks of digits, with any objective: docs/objectives.md says where each is from, and what it costs.",
        "The time is that of digits, times what the objective costs.",
    ),
    "digits-tutorial": (
        "The DCGAN of a Keras tutorial: docs/tutorial.md. The objective is that of Goodfellow et al. 2014.",
        "Five minutes; digits of all classes among broken ones, without labels nor a weight average.",
    ),
    "gan": (
        "Goodfellow et al. 2014: multilayer perceptrons, maxout and dropout in D; --width 120 is the authors'.",
        "Ten seconds; readable digits among broken ones, speckled.",
    ),
    "dcgan": (
        "Radford et al. 2016: strided convolutions with batch norm in both networks; --width 128 is the paper's.",
        "Ten seconds; readable digits of all classes, some broken ones.",
    ),
    "wgan": (
        "Arjovsky et al. 2017: a critic whose weights are clipped, five updates of it for one of G.",
        "20 seconds; strokes and some readable digits.",
    ),
    "wgan_gp": (
        "Gulrajani et al. 2017: a gradient penalty in place of clipped weights; residual networks.",
        "Two minutes; every class, varied; among the best here.",
    ),
    "ac_gan": (
        "Odena et al. 2017: D also classifies; here on SNGAN's networks.",
        "One minute; every class, some of them weaker. --class-weight trades variety for the right class.",
    ),
    "infogan": (
        "Chen et al. 2016: codes that say what an image shows, found without labels.",
        "25 seconds; shapeless at 10 kimg, then digits; most categories become one digit each, which ones depends on the seed.",
    ),
    "sngan": (
        "Miyato et al. 2018, Miyato and Koyama 2018: spectral norm, hinge, a projection of the class in D.",
        "One minute; every class, 1 and 7 are the weakest.",
    ),
    "sngan_cnn": (
        "Miyato et al. 2018, table 3: the same on plain convolutions, without labels.",
        "30 seconds; readable digits among broken ones.",
    ),
    "sagan": (
        "Zhang et al. 2019: self-attention, spectral norm in both networks.",
        "30 seconds; every class, with little variety within it.",
    ),
    "biggan": (
        "Brock et al. 2019: z in chunks, one class embedding for all layers, orthogonal regularisation.",
        "30 seconds; every class, 1, 7 and 8 are the weakest. D's learning rate is near its limit: of longer runs lower it.",
    ),
    "biggan_deep": (
        "Brock et al. 2019, appendix B: bottleneck blocks, all of z in every norm.",
        "Two minutes; every class, 8 is the weakest.",
    ),
    "reacgan": (
        "Kang et al. 2021: images are compared with each other and with a learned proxy of each class.",
        "One minute; every class, varied.",
    ),
    "multi_hinge": (
        "Kavalerov et al. 2021: one hinge loss of all classes and of fakes.",
        "Two minutes; classes are learned between 20 and 30 kimg, then varied.",
    ),
    "stylegan2": (
        "Karras et al. 2020: modulated convolutions, noise, a mapped latent; with --augment ada --augment-target 0.6 also ADA.",
        "One minute; every class, still speckled by the noise at the end.",
    ),
    "stylegan3": (
        "Karras et al. 2021, configuration T: images that move with their details.",
        "Four minutes; every class, with smooth strokes.",
    ),
    "r3gan": (
        "Huang et al. 2024: no normalisation, a relativistic loss, R1 and R2, all on one schedule.",
        "One minute; every class, varied; 1 and 7 are the weakest.",
    ),
    "gat": (
        "Hyun et al. 2025: transformers over patches, images at four levels under noise. The authors': --preset B/2.",
        "Six minutes; every class, smooth; it improves to the end.",
    ),
    "progan": (
        "Karras et al. 2018: networks that grow.",
        "One minute; blobs until 16 kimg, mostly legible at 40.",
    ),
    "stylegan": (
        "Karras et al. 2019: styles from a mapped latent, noise in every layer.",
        "One minute; legible at 20 kimg, clean at 40.",
    ),
    "pix2pix": (
        "Isola et al. 2017: from pairs of images; here digits with a part hidden, which is filled.",
        "Half a minute; the PSNR of 100 held-out digits rises from 17.6 to 26.0 dB.",
    ),
    "cyclegan": (
        "Zhu et al. 2017: between two kinds of images, without pairs; here digits and mosaics of others.",
        "One and a half minutes; a PSNR of 32.2 dB to the true mosaics, which it never saw, and of 27.7 dB back.",
    ),
}
"""What it is; how long it takes and what then is there."""

PAPERS = {
    "wgan_gp-cifar10": ("Gulrajani et al. 2017, without labels; the authors' 100,000 updates of G.", 0.6, 64),
    "sngan-cifar10": ("Miyato and Koyama 2018; 50,000 updates of G.", 1.1, 64),
    "biggan-cifar10": ("The numbers of the authors' PyTorch code, the network of Brock et al. 2019; 500 epochs.", 1.0, 50),
    "sagan-imagenet128": ("Zhang et al. 2019; 1,000,000 updates.", 24.0, 256),
    "biggan-imagenet128": ("Brock et al. 2019, on a TPU v3 of 128 cores.", 63.7, 256),
    "stylegan2-cifar10": ("Karras et al. 2020 (ADA), with classes; on 2 GPUs, FID 2.42.", 2.0, 64),
    "stylegan2-256": ("Karras et al. 2020, the network with which ADA's paper fine-tunes: --init.", 13.7, 64),
    "stylegan3-256": ("Karras et al. 2021, configuration T; on 8 V100 some 4 days.", 46.4, 32),
    "stylegan3-r-256": ("Karras et al. 2021, configuration R; on 8 V100 some 3.5 days.", 98.5, 32),
    "r3gan-cifar10": ("Huang et al. 2024, with classes; on 8 L40 four days, FID 1.96.", 64.0, 512),
    "r3gan-256": ("Huang et al. 2024, FFHQ; on 8 GPUs, FID 2.75.", 76.1, 64),
    "progan-256": ("Karras et al. 2018, section 6.4: LSUN, FID 8.34 of bedrooms (--no-mirror).", 7.7, 16),
    "progan-1024": ("Karras et al. 2018, section 6.3: CelebA-HQ, on 8 V100 four days.", 29.6, 16),
    "stylegan-256": ("Karras et al. 2019; on 8 V100 three days with networks that grow, which these do not.", 12.6, 32),
    "stylegan-1024": ("Karras et al. 2019; on 8 V100 a week, FID 4.4, with networks that grow, which these do not.", 49.8, 32),
    "pix2pix-256": ("Isola et al. 2017: facades, 400 pairs, 200 epochs of batch 1.", 1.2, 1),
    "cyclegan-256": ("Zhu et al. 2017: horse2zebra, 200 epochs of batch 1. The memory is that with --history 0.", 2.0, 1),
}
"""What the paper's run was; the GB at a batch, of the table in docs/families.md."""

OTHERS = {
    "cifar10": (
        "R3GAN's recipe (Huang et al. 2024), twice as wide as digits. 45 minutes on two cores with AVX-512; README shows "
        "the images (fd10k 4.6)."
    ),
    "stacked-tutorial": "StackedMNIST (Metz et al. 2017) with the tutorial's objective: finds 94 of 1,000 modes.",
    "stacked-r3gan": "StackedMNIST (Metz et al. 2017) with R3GAN's objective: finds 678 of 1,000 modes.",
}


def about(name: str) -> str:
    """Some sentences on the config of this name; "" of one that is not here."""
    base = {"mnist": "digits", "mnist-tutorial": "digits-tutorial"}.get(name, name.removesuffix("-mnist"))
    if name in PAPERS:
        said, gigabytes, batch = PAPERS[name]
        return f"{said} For accelerators: {gigabytes:g} GB on one, at batch {batch}. No whole run of it was made with this code."
    if name in SMALL:
        what, expect = SMALL[name]
        return f"{what} On two CPU cores: {expect[0].lower()}{expect[1:]}"
    if base in SMALL:
        known = "not run yet" if base == "gat" else "numbers and pictures: docs/families.md"
        return f"{SMALL[base][0]} On MNIST (--data-dir says where TFDS has it); {known}."
    return OTHERS.get(name, "")

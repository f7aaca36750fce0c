"""DP-SIMS: photos from label maps with a GAN whose discriminator looks through a frozen pre-trained backbone."""

__version__ = "0.1.0"

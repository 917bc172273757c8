"""Generative adversarial networks: a generator and a discriminator, conditional or not, as configs of one model."""

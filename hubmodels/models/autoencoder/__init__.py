"""Autoencoders: plain, denoising, variational and vector-quantised, of images and tables, as configs of one model."""

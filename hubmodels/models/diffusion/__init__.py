"""Diffusion and flow matching: images and sound from noise, with a U-Net or a diffusion transformer as the network."""

"""Transformers: GPT-2, BERT, Llama and ViT as configs of one block, and image and text towers of it side by side."""

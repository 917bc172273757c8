"""Inputs: what a row holds (images, tables, texts, series, sounds), read, processed, encoded, augmented.

An input knows no target, and imports another input only to derive from it.
"""

"""Inputs: what a row holds (images, tables, texts, series, sounds), read, processed, encoded, augmented.

An input knows no target, and no other input.
"""

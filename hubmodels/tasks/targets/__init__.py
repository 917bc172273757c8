"""Targets: what is to be told of a row (one class, several labels, numbers, ...), measured and answered.

A target knows no input.
"""

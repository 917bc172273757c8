"""The families, one folder each, found by discovery (see `hubmodels.families`)."""

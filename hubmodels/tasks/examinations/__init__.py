"""What a model is measured by as a whole, beside what its rows say: samples, latents, pictures before and after.

An examination puts inputs, targets, baselines and figures together; a problem's `examine` calls it.
"""

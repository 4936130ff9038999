"""Mathematics on arrays and small specs: no graph, no file, no progress bar.

Every module stands alone on numpy; import the one you need by its name, for example
``from intaglio.transforms.fixed_point import quantize_multiplier``.
"""

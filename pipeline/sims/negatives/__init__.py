"""What is not a lens: one function a kind, each drawing the light in the middle of a stamp.

The kinds are those that networks mistook for lenses on real images: bright ellipticals and close blends, clumpy and
blue discs, red galaxies with blue companions, white cores, stars beside galaxies, groups of faint galaxies. Shapes
and numbers are the population's `negatives`.
"""

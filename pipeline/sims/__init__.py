"""Simulated lenses, artefacts and whole synthetic surveys.

From what a person writes to pixels, each package knowing only those before it:

- `config`: the TOML files of `configs/sims`, with units; `config.load` reads them.
- `render`: light and mass to images: profiles, deflection, convolution, noise.
- `psf`: PSFs that are measured in a survey, or given in files.
- `population`: draws of galaxies, stars, lenses and quasars.
- `sources`: real galaxies, of HST images, as what is lensed.
- `negatives`: draws of what is not a lens, kind by kind.
- `artefacts`: what detectors, satellites and bright stars do to an image.
- `truth`, `pools`: what is true of a stamp, and stamps on disk.
- `stamps`: pools of wholly simulated stamps.
- `inject`: pools of lenses that are injected into real pixels.
- `sky`: synthetic surveys, field by field.
"""

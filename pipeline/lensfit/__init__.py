"""Lens parameters the classical way: a model of one stamp, compared pixel by pixel, for chosen objects.

The network of `pipeline.models.lensnet` answers for every candidate at once; this answers for one lens in seconds to
minutes, says how well its model fits, and checks the network. From what is observed to what is told:

- `config`: the TOML files of `configs/lensfit`, with units.
- `observation`: a stamp's pixels, what they weigh, and the seeing.
- `parameters`: the model's parameters as a vector that is standard normal a priori.
- `scene`: images of deflector and source for such a vector, on caustics' deflections and profiles.
- `likelihood`: fluxes solved for, chi-squared, and the posterior's density.
- `optimise`, `fit_map`: the most probable model, from several starts.
- `nuts`: samples of the posterior, and whether they can be trusted.
- `resimulate`, `curves`, `picture`: a model beside its stamp, with its critical lines and caustics.
"""

"""Where mock spectra begin: what stars, galaxies and quasars send to us, without an instrument.

population = read_population("population.toml")
objects = draw(population, 1000, seed=[1], grid=(math.log(3500), 7e-5, 15000))
"""

from zspec.simulate.sources.drawing import Grid, draw
from zspec.simulate.sources.population import Class, Depth, Population, read_population

__all__ = ["Class", "Depth", "Grid", "Population", "draw", "read_population"]

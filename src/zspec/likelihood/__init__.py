"""Rest-frame bases, and their exact least-squares fit at every redshift at once.

- :mod:`~zspec.likelihood.basis`: what a basis is, and how it is kept in a file;
- :mod:`~zspec.likelihood.pixels`: native pixels to weighted sums on the common log grid;
- :mod:`~zspec.likelihood.noise`: the error of the model, added to that of the data;
- :mod:`~zspec.likelihood.scan`: chi2 at every redshift by FFT cross-correlation;
- :mod:`~zspec.likelihood.refine`: candidates, and their final fit on native pixels;
- :mod:`~zspec.likelihood.posterior`, :mod:`~zspec.likelihood.ranking`: masses, shares, candidates;
- :mod:`~zspec.likelihood.density`, :mod:`~zspec.likelihood.bound`: p(z), the Cramér-Rao bound;
- :mod:`~zspec.likelihood.reasons`, :mod:`~zspec.likelihood.confidence`: ZWARN and ZCONF;
- :mod:`~zspec.likelihood.scatter`, :mod:`~zspec.likelihood.conformal`: what ZERR lacks, intervals;
- :mod:`~zspec.likelihood.calibration`, :mod:`~zspec.likelihood.validate`: what real spectra teach;
- :mod:`~zspec.likelihood.learn`: weighted low-rank factorisation, spectra to a basis;
- :mod:`~zspec.likelihood.train`: a recipe to a checkpoint.
"""

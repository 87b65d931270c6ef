"""The proposal: a network that says where a redshift may lie, for spectra of any survey.

One set of weights takes flux, error and good pixels on one log grid and gives a density over class
and ln(1 + z). A redshift is a shift on that grid, so the network is a bank of matched filters that
are learned: features of the spectrum are correlated with kernels in the rest frame at all redshifts
at once, by FFT, and a small network weighs what they find at each redshift.

- ``network`` is the network, ``inputs`` what it sees, ``model`` what others call;
- ``samples`` and ``augment`` are mock spectra to learn from, ``targets`` what is to be learned;
- ``training`` and ``state`` train and resume, ``recipe`` is what a recipe may say.
"""

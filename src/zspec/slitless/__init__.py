"""The slitless network: flux and error in, a calibrated Gaussian out.

A residual network on native pixels (:mod:`~zspec.slitless.network`) is trained on redshifts; its
features are frozen, and Bayesian layers on top of them (:mod:`~zspec.slitless.heads`) give a mean
and a sigma. From the CSST slitless paper: Zhou et al. 2024, "P2" below. The estimator is
:mod:`zspec.estimators.slitless_bnn`.
"""

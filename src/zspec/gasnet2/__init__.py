"""GaSNet-II (Zhong et al. 2024): a ResNet that classifies, and ensembles of ResNets for redshifts.

One file a subject: :mod:`~zspec.gasnet2.network`, :mod:`~zspec.gasnet2.recipe`,
:mod:`~zspec.gasnet2.samples`, :mod:`~zspec.gasnet2.training`, :mod:`~zspec.gasnet2.forward`,
:mod:`~zspec.gasnet2.gradients`. The estimator is :class:`zspec.estimators.gasnet2.GasNet2`.
"""

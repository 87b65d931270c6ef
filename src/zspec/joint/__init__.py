"""The joint estimator: a network proposes, the likelihood decides, one calibrated posterior.

- ``proposed``: what the network says, as a density that can be asked anywhere;
- ``weights``: the few numbers that join the two, and ``posterior`` the joint posterior;
- ``guide``: where the likelihood looks because the network does: minima that it alone proposes, and
  with ``--fast`` nothing but its windows;
- ``judging``: flags and ZCONF of the joint answers, ``confidence`` the features of the latter;
- ``cases`` and ``fitting``: what validation spectra teach about all of that;
- ``recipe`` and ``train``: from a recipe to a checkpoint.
"""

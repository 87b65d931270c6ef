"""Maps from a predictive distribution to one whose probabilities are frequencies.

Estimators that give a Gaussian use :class:`Calibration` through :func:`zspec.calibrate.learn`; so
does the command ``zspec calibrate``. Nothing here needs torch.
"""

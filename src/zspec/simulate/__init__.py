"""Simulated spectra with known answers.

``mocks`` makes spectra from analytic rest-frame physics (``restframe``) as an instrument of given
pixels and line-spread function would see them: enough for demos, examples and tests.
"""

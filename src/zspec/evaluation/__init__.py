"""Evaluation: a catalogue of any tool against a truth. Plain functions that do not print."""

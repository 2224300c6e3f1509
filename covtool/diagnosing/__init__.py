"""Diagnosis of an installation, and of a batch on which a run stopped.

The modules are imported one by one: a broken package that `health` reports may keep the others from
being imported.
"""

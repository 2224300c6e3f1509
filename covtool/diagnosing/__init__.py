"""Is everything in order: with the installation, and with a batch on which a run stopped.

The modules are imported one by one: what `health` looks into may be what keeps the others from
being imported.
"""

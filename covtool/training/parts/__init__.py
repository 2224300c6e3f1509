"""The parts of a run, built from its request: model, objective, parameter groups, optimizer."""

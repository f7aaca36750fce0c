"""Perturbed label maps: operations on a label map and its objects whose recorded parameters replay them exactly."""

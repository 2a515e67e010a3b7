"""The predictor of one device, from its measured blocks."""

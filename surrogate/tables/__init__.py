"""The predictor of any table of measured models, and its transfer to other devices."""

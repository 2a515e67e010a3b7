"""Quantised ONNX files as the fp32 files of the same meaning: their weights as they are, activations not rounded."""

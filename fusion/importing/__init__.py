"""From an ONNX file to a graph of its operators, all that is constant folded."""

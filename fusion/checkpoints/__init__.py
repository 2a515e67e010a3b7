"""From a Hugging Face directory or a preset to an ONNX file."""

"""From the PyTorch model to engines: the run-time graphs, their ONNX files and the check that both say the same."""

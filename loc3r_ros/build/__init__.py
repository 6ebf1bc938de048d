"""From a folder of ONNX graphs to a folder of TensorRT plans, on the machine that will run them."""

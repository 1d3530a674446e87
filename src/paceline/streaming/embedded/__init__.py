"""The packaged detectors; `detect.onnx.ladder` reads their table."""

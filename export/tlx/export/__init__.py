"""Export: a trained model folder in, the same folder with verified ONNX variants out.

from tlx.export.config import ExportConfig
from tlx.export.export import export
export("models/intent", config=ExportConfig(precisions=("int8",), data="data/val.csv"))
"""

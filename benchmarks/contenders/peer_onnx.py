"""sentence-transformers with its ONNX backend: FOLDER SETTINGS."""

import json
import subprocess
import sys
from pathlib import Path

from peer_st import predict_in_turns
from sentence_transformers import CrossEncoder, export_dynamic_quantized_onnx_model


def main(folder: Path, settings: dict[str, object]) -> None:
    """With ``quantized`` its int8 of that name, such as ``avx512_vnni``."""
    if not (folder / "onnx").exists():  # in a process of its own, since its memory is not the contender's
        subprocess.run([sys.executable, __file__, str(folder), "export"], check=True)
    name = f"model_qint8_{settings['quantized']}.onnx" if "quantized" in settings else "model.onnx"
    predict_in_turns(_opened(folder / "onnx", folder, file_name=f"onnx/{name}"), folder, settings)


def export(folder: Path) -> None:
    """The model in float32 and in int8."""
    model = _opened(Path((folder / "model").read_text()), folder, export=True)
    model.save_pretrained(str(folder / "onnx"))
    for kind in ("avx512_vnni", "avx2"):
        export_dynamic_quantized_onnx_model(model, kind, str(folder / "onnx"))


def _opened(source: Path, folder: Path, **settings: object) -> CrossEncoder:
    length = int((folder / "length").read_text())
    return CrossEncoder(str(source), max_length=length, device="cpu", backend="onnx", model_kwargs=settings)


if sys.argv[2] == "export":
    export(Path(sys.argv[1]))
else:
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))

"""The peers, each in a virtual environment of its own, made from PyPI when it is first needed."""

import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
"""The same for all; the other pins are what was newest on 2026-11-25, and what it works with."""

REQUIREMENTS = {
    "peers": (
        TORCH,
        "transformers==5.23.0",
        "sentence-transformers==6.2.0",
        "rerankers==0.10.0",
        "datasets",
        "accelerate",
    ),
    "lightning": (TORCH, "transformers==4.57.6", "lightning-ir==0.0.6"),
    "onnx": (TORCH, "transformers==4.57.6", "sentence-transformers[onnx]==5.7.0"),
}


def python_of(folder: Path, name: str) -> str:
    """The interpreter of an environment; ``ours`` is the one that runs this."""
    if name == "ours":
        return sys.executable
    place = folder / name
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(place / "bin" / "pip"), "install", "--quiet", *REQUIREMENTS[name]]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (place / "ready").touch()
    return str(place / "bin" / "python")

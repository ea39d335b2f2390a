#!/bin/sh
# A GPU measured in one command: tests, packed beside padded scores, pairs per second beside sentence-transformers as a
# share of the card's peak, and a training of `cross` and `dual`. It lies ready because a GPU is at hand for minutes.
#
#   python benchmarks/gpu.py pack DATA/qa PACK     where everything is installed: one file of at most 60 MiB
#   benchmarks/gpu.sh OUT [PACK] [--rehearse]      on the machine with the GPU: at most GPU_SECONDS, 480 if not given
#   python benchmarks/gpu.py restore OUT PACK MODELS     afterwards, anywhere: the two models as directories
#
# Needs Python 3.12, torch, transformers, sentence-transformers and pytest; no network, no installation. OUT gets gpu.md
# (the tables), gpu.json (every figure and loss), gpu.log, and of each model the weights that changed: 7 files of at most
# 15 MiB, some 43 MiB in all. --rehearse does all of it on the CPU in a small size. PYTHON chooses the interpreter.
set -eu

here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true RANKER_CACHE="$work/cache" PYTHONUNBUFFERED=1
"${PYTHON:-python3}" "$here/gpu.py" measure --work "$work" --seconds "${GPU_SECONDS:-480}" "$@"

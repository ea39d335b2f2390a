#!/bin/sh
# Every table of docs/performance.md: a model is trained, and raced against the peers, which are installed from PyPI.
#
#   benchmarks/performance.sh DATA WORK > tables.md
#
# DATA holds the datasets in BEIR layout. Nothing else should run on the machine meanwhile: an hour and a half on two
# cores, and WORK/environments takes gigabytes. What WORK already holds is not made again.
set -eu

here=$(dirname "$(realpath "$0")")
data=$(realpath "$1") work=$2
mkdir -p "$work"
cd "$work"
. "$here/common.sh"

[ -e qa ] || ln -s "$data/qa" "$data/trec-dl" .
sample squad-sentences
sample medquad train
bm25 qa qa.bm25 train qa.train.run 50
bm25 squad-sentences squad-sentences.bm25 test squad-sentences.run 50
bm25 medquad medquad.bm25 test medquad.run 50
bm25 medquad medquad.bm25 train medquad.train.run 20
if [ ! -e cross ]; then
    once cross.128 train qa --mode cross --run qa.train.run --negative-depth 20 --negatives 3 --groups-per-step 16 \
        --learning-rate 3e-4 --head-learning-rate 1e-3 --length 128 --frozen-layers 1 --no-dropout --validations 0 \
        --epochs 100 --max-steps 150 --leaks ignore
    # it reads as much as its backbone can: how fast that is does not depend on what it has learned
    sed -i 's/"length": 128/"length": 512/' cross.128/ranker.json
    mv cross.128 cross
fi

squad="squad-sentences squad-sentences.run test" dl19="trec-dl trec-dl/runs/dl19.bm25.run dl19"
dl20="trec-dl trec-dl/runs/dl20.bm25.run dl20" medquad="medquad medquad.run test"
race() { # pairs, then a workload
    python "$here/rerank.py" --model cross --environments environments --rounds 3 --pairs "$@"
}
python "$here/breakdown.py" --model cross $squad
python "$here/breakdown.py" --model cross --pairs 300 $dl19
race 1000 $squad
race 500 $dl19
race 150 $medquad
python "$here/precision.py" --model cross $squad $dl19 $dl20
python "$here/training.py" --environments environments --steps 10 qa qa.train.run
python "$here/training.py" --environments environments --steps 10 medquad medquad.train.run
python "$here/coldstart.py" --model cross $dl19

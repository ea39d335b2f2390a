#!/bin/sh
# What windows gain over cutting, on passages longer than the model reads: the table of docs/reliability.md.
#
#   benchmarks/windows.sh DATA WORK [STEPS] > table.md
#
# DATA holds medquad in BEIR layout. What WORK already holds is not done again.
set -eu

here=$(dirname "$(realpath "$0")")
data=$(realpath "$1") work=$2 steps=${3:-120}
mkdir -p "$work"
cd "$work"

. "$here/common.sh"

subset medquad medquad 'place % 5 == 0' train
bm25 medquad bm25 train train.run 20
bm25 medquad bm25 test test.run 10
once cross train medquad --mode cross --run train.run --negative-depth 12 --negatives 3 --groups-per-step 16 \
    --learning-rate 3e-4 --head-learning-rate 1e-3 --length 192 --query-length 32 --frozen-layers 1 --no-dropout \
    --epochs 100 --max-steps "$steps" --leaks ignore
for overflow in cut windows; do
    once "$overflow.run" rerank medquad --run test.run --depth 10 --mode cross --model cross --overflow "$overflow"
done
ranker compare medquad test.run cut.run windows.run --measure RR@10 --measure nDCG@10 --baseline cut

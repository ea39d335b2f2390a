#!/bin/sh
# What more training is worth: the settings of study.sh for another number of steps, under seed 1.
#
#   benchmarks/longer.sh WORK STEPS [MODES]
#
# WORK is study.sh's, whose questions and candidates it takes; MODES is one word with spaces. The models
# are kept in WORK/models.STEPS, the runs in WORK/runs/longer.
set -eu

steps=$2 modes=${3:-cross dual}
here=$(dirname "$(realpath "$0")")
cd "$1" # so that manifests name no folder of this machine
. "$here/common.sh"
mkdir -p "models.$steps" runs/longer

for mode in $modes; do
    once "models.$steps/$mode" train qa --mode "$mode" --run qa.train.run $learning --epochs 100 --max-steps "$steps" \
        --validations 0
    for name in medquad squad-sentences; do
        once "runs/longer/$name.$mode.$steps.run.gz" rerank "$name" --run "$name.run" --depth 50 \
            --mode "$mode" --model "models.$steps/$mode"
    done
done

#!/bin/sh
# The studies of docs/results.md: every arm is trained once for each seed, and tested on sets that it has nothing of.
#
#   benchmarks/study.sh DATA WORK [STEPS [SEEDS [ARMS]]]
#
# DATA holds the datasets in BEIR layout; SEEDS and ARMS are each one word with spaces, as "1 2 3" and "cross dual frozen".
# What WORK already holds is not done again, so a study that was stopped goes on; WORK/runs alone is enough, where the
# models are not to be had any more. Arms can be shared among machines: put what their WORK/runs hold into one, and go on.
set -eu

every="cross dual frozen layer-mean layer-attention mult-int term-trans token-pool cedr-knrm knrm conv-knrm ablations"
here=$(dirname "$(realpath "$0")")
data=$(realpath "$1") work=$2 steps=${3:-400} wanted=${4:-1 2 3} arms=${5:-$every}
mkdir -p "$work/runs" "$work/qrels"
cd "$work" # so that manifests name no folder of this machine
. "$here/common.sh"
[ -e qa ] || ln -s "$data/qa" "$data/trec-dl" .

study() { # dataset run output, then options
    dataset=$1 run=$2 output=$3
    shift 3
    ranker study "$dataset" --run "$run" --output "runs/$output" --models models --train qa --train-run qa.train.run \
        --steps-each "$steps" $learning $seeds "$@" > /dev/null
}

tested() { # options
    study squad-sentences squad-sentences.run squad-sentences "$@"
    study medquad medquad.run medquad "$@"
}

of_trec() { # options
    for split in dl19 dl20; do
        study trec-dl "trec-dl/runs/$split.bm25.run" "$split" --split "$split" --depth 100 --measure nDCG@10 \
            --measure 'RR(rel=2)@10' "$@"
    done
}

# every tenth question, but none that is sampled: on these, settings were tried before they were chosen on dev of qa
subset squad-sentences squad-sentences "place % 10 == 5 && !($sampled)"
sample medquad
for test in squad-sentences/test medquad/test trec-dl/dl19 trec-dl/dl20; do # what runs are evaluated by where DATA is not
    awk 'FNR > 1 { print $1, 0, $2, $3 }' "${test%/*}/qrels/${test#*/}.tsv" > "qrels/$(echo "$test" | tr / .).qrels"
done
bm25 qa qa.bm25 train qa.train.run 50
for name in squad-sentences medquad; do
    bm25 "$name" "$name.bm25" test "$name.run" 50
done
seeds=
for seed in $wanted; do
    seeds="$seeds --seed $seed"
    for arm in $arms; do # each is tested on all before the next is trained, so that nothing is trained in vain
        case $arm in
        cross | dual)
            tested --mode "$arm" --tuning fine-tuned
            of_trec --mode "$arm" --tuning fine-tuned
            ;;
        frozen)
            tested --tuning frozen
            of_trec --mode cross --mode dual --tuning frozen
            ;;
        ablations) # of one seed, in a report of their own
            [ -e runs/ablations/report.md ] ||
                study squad-sentences squad-sentences.run ablations --mode cross --tuning fine-tuned --ablations
            ;;
        *) tested --mode "$arm" --tuning fine-tuned ;;
        esac
    done
done
case $arms in
"$every")
    tested
    of_trec --mode cross --mode dual
    ;;
"cross dual")
    tested --mode cross --mode dual --tuning fine-tuned
    of_trec --mode cross --mode dual --tuning fine-tuned
    ;;
*) ;; # the rest is elsewhere, and the reports are made where all is
esac

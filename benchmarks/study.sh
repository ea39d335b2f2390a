#!/bin/sh
# The studies of docs/results.md: every arm is trained on qa once for each seed, and tested on four sets it has nothing of.
#
#   benchmarks/study.sh DATA WORK [STEPS]
#
# DATA holds the datasets in BEIR layout. What WORK already holds is not done again, so a study that was stopped goes on.
set -eu

data=$(realpath "$1") work=$2 steps=${3:-150}
mkdir -p "$work"

# Some 500 questions, each with all its judgments: two cores score no half a million pairs for each arm.
sample() { # dataset step
    [ -e "$work/$1" ] && return
    mkdir -p "$work/$1.part/qrels"
    ln -s "$data/$1/corpus.jsonl" "$data/$1/queries.jsonl" "$work/$1.part/"
    awk -v step="$2" 'NR > 1 && !($1 in place) { place[$1] = ++count }
        NR == 1 || place[$1] % step == 0' "$data/$1/qrels/test.tsv" > "$work/$1.part/qrels/test.tsv"
    mv "$work/$1.part" "$work/$1"
}

once() { # output, then a command that writes it
    output=$1
    shift
    [ -e "$output" ] || ranker "$@" --output "$output"
}

bm25() { # dataset index split run
    once "$2" index "$1"
    once "$4" retrieve "$1" --index "$2" --split "$3" --depth 50
}

study() { # dataset run output, then options
    dataset=$1 run=$2 output=$3
    shift 3
    ranker study "$dataset" --run "$run" --output "$work/runs/$output" --models "$work/models" --train "$data/qa" \
        --train-run "$work/qa.train.run" --train-run "$work/qa.dev.run" --steps-each "$steps" --negatives 3 \
        --groups-per-step 16 --negative-depth 20 --learning-rate 3e-4 --head-learning-rate 1e-3 --length 128 \
        --frozen-layers 1 --no-dropout --validations 1 $seeds "$@"
}

sample squad-sentences 20
sample medquad 4
bm25 "$data/qa" "$work/qa.bm25" train "$work/qa.train.run"
bm25 "$data/qa" "$work/qa.bm25" dev "$work/qa.dev.run"
for name in squad-sentences medquad; do
    bm25 "$work/$name" "$work/$name.bm25" test "$work/$name.run"
done
seeds=
for seed in 1 2 3; do
    seeds="$seeds --seed $seed"
    for name in squad-sentences medquad; do
        study "$work/$name" "$work/$name.run" "$name"
    done
    for split in dl19 dl20; do
        study "$data/trec-dl" "$data/trec-dl/runs/$split.bm25.run" "$split" --split "$split" --depth 100 \
            --measure nDCG@10 --measure 'RR(rel=2)@10'
    done
done

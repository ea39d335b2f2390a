#!/bin/sh
# The tables of docs/results.md: trained on qa, which holds the train part of medquad, and tested on splits it has nothing of.
#
#   benchmarks/results.sh DATA WORK [STEPS] > table.md
#
# DATA holds the four datasets in BEIR layout. What WORK already holds is not done again, so a run that was stopped goes on.
set -eu

data=$1 work=$2 steps=${3:-400}
models="$work/models" runs="$work/runs"
mkdir -p "$models" "$runs"

. "$(dirname "$0")/common.sh"

train() { # mode
    once "$models/$1" train "$data/qa" --mode "$1" --run "$runs/qa.train.run" --run "$runs/qa.dev.run" \
        --negative-depth 20 --negatives 4 --groups-per-step 16 --learning-rate 1e-4 --length 192 \
        --frozen-layers 1 --no-dropout --epochs 100 --max-steps "$steps" --validations 3
}

arms() { # dataset split name depth; the first-stage run is $runs/NAME.bm25.run
    for mode in dual cross; do
        once "$runs/$3.$mode.run" rerank "$1" --split "$2" --run "$runs/$3.bm25.run" --depth "$4" \
            --mode "$mode" --model "$models/$mode"
    done
    for pooling in cls mean; do
        once "$runs/$3.dual-frozen-$pooling.run" rerank "$1" --split "$2" --run "$runs/$3.bm25.run" --depth "$4" \
            --mode dual --model offline --pooling "$pooling"
    done
}

searched() { # dataset dense-index split name depth
    once "$work/$2.dense" index "$1" --kind dense --model "$models/dual"
    once "$runs/$4.dual-faiss.run" retrieve "$1" --index "$work/$2.dense" --split "$3" --depth "$5"
}

tell() { # dataset split name first-measure second-measure
    set -- "$1" "$2" "$4" "$5" "$runs/$3.bm25.run" "$runs/$3.dual-frozen-cls.run" "$runs/$3.dual-frozen-mean.run" \
        "$runs/$3.dual-faiss.run" "$runs/$3.dual.run" "$runs/$3.cross.run" "$3"
    printf '\n## %s\n\n' "${11}"
    ranker evaluate "$1" --split "$2" -m "$3" -m "$4" --format markdown "$5" "$6" "$7" "$8" "$9" "${10}"
    for baseline in bm25 dual; do
        printf '\n'
        ranker compare "$1" --split "$2" -m "$3" -m "$4" --format markdown --missing zero --baseline "${11}.$baseline" \
            "$5" "$6" "$7" "$8" "$9" "${10}"
    done
}

# two cores score no half a million pairs in an hour
subset "$work/squad-sentences.sample" squad-sentences 'place % 10 == 0'
subset "$work/medquad.sample" medquad 'place % 4 == 0'
for split in train dev; do
    bm25 "$data/qa" "$work/qa.bm25" "$split" "$runs/qa.$split.run" 50
done
for name in squad-sentences medquad; do
    bm25 "$work/$name.sample" "$work/$name.bm25" test "$runs/$name.bm25.run" 50
done
for split in dl19 dl20; do
    [ -e "$runs/$split.bm25.run" ] || cp "$data/trec-dl/runs/$split.bm25.run" "$runs/"
done
train dual
train cross
for name in squad-sentences medquad; do
    arms "$work/$name.sample" test "$name" 50
    searched "$work/$name.sample" "$name" test "$name" 50
    tell "$work/$name.sample" test "$name" nDCG@10 RR@10
done
for split in dl19 dl20; do
    arms "$data/trec-dl" "$split" "$split" 100
    searched "$data/trec-dl" trec-dl "$split" "$split" 100
    tell "$data/trec-dl" "$split" "$split" nDCG@10 'RR(rel=2)@10'
done

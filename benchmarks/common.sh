# What the scripts beside this one share; those that sample have set data, the folder of the datasets.

# how the models of study.sh and longer.sh learn
learning='--negatives 3 --groups-per-step 16 --negative-depth 20 --learning-rate 1e-4 --head-learning-rate 1e-3 --length 96
    --frozen-layers 1 --no-dropout'

# Some of a dataset's test questions, each with all its judgments, and other splits whole.
subset() { # folder, dataset, awk's condition on the place of a question among count of them, other splits
    [ -e "$1" ] && return
    folder=$1 from=$data/$2 chosen=$3
    shift 3
    mkdir -p "$folder.part/qrels"
    ln -s "$(realpath "$from/corpus.jsonl")" "$(realpath "$from/queries.jsonl")" "$folder.part/"
    for split in "$@"; do
        cp "$from/qrels/$split.tsv" "$folder.part/qrels/"
    done
    awk "NR == FNR { if (FNR > 1 && !(\$1 in places)) places[\$1] = ++count; next }
        { place = places[\$1] } FNR == 1 || ($chosen)" \
        "$from/qrels/test.tsv" "$from/qrels/test.tsv" > "$folder.part/qrels/test.tsv"
    mv "$folder.part" "$folder"
}

sampled='int(place * 500 / count) > int((place - 1) * 500 / count)' # five hundred in even steps

sample() { # dataset, other splits
    name=$1
    shift
    subset "$name" "$name" "$sampled" "$@"
}

once() { # output, then a command that writes it
    output=$1
    shift
    [ -e "$output" ] || ranker "$@" --output "$output"
}

bm25() { # dataset index split run depth
    once "$2" index "$1"
    once "$4" retrieve "$1" --index "$2" --split "$3" --depth "$5"
}

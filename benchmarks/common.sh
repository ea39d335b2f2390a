# What the scripts beside this one share; they have set data, and stand in the folder where they work.

# Five hundred questions in even steps, each with all its judgments.
sample() { # dataset
    [ -e "$1" ] && return
    mkdir -p "$1.part/qrels"
    ln -s "$data/$1/corpus.jsonl" "$data/$1/queries.jsonl" "$1.part/"
    awk -v wanted=500 'NR == FNR { if (FNR > 1 && !($1 in place)) place[$1] = ++count; next }
        FNR == 1 || int(place[$1] * wanted / count) > int((place[$1] - 1) * wanted / count)' \
        "$data/$1/qrels/test.tsv" "$data/$1/qrels/test.tsv" > "$1.part/qrels/test.tsv"
    mv "$1.part" "$1"
}

once() { # output, then a command that writes it
    output=$1
    shift
    [ -e "$output" ] || ranker "$@" --output "$output"
}

bm25() { # dataset split run
    once "$1.bm25" index "$1"
    once "$3" retrieve "$1" --index "$1.bm25" --split "$2" --depth 50
}

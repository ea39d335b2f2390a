"""Every command says what a model cannot read: queries and passages that are cut, and tokens that are unknown."""

import json
import shutil

import pytest


@pytest.fixture
def chinese(dataset, tmp_path):
    """The same dataset with other words in every passage."""
    folder = tmp_path / "chinese"
    shutil.copytree(dataset, folder)
    lines = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    texts = (json.dumps({**line, "text": f"{line['text']} 中 国 人 民"}) + "\n" for line in lines)
    (folder / "corpus.jsonl").write_text("".join(texts))
    return folder


@pytest.fixture
def long(dataset, tmp_path):
    """The same dataset with questions of a hundred words."""
    folder = tmp_path / "long"
    shutil.copytree(dataset, folder)
    lines = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    texts = (json.dumps({**line, "text": f"{line['text']} " * 20}) + "\n" for line in lines)
    (folder / "queries.jsonl").write_text("".join(texts))
    return folder


SMALL = ("--precision", "float32")


def unknown(err):
    return [line for line in err.splitlines() if "does not know" in line]


def test_an_index_of_passages_in_another_script_says_so_and_how_much_it_cut(ranker, chinese, tiny, tmp_path):
    words = ("--kind", "dense", "--model", tiny(), "--length", 16, *SMALL)
    said = ranker("index", chinese, *words, "-o", tmp_path / "index")
    assert said.status == 0, said.err
    assert unknown(said.err) == [
        f"{tiny()}: does not know 31% of the tokens of the passages, as '中', '国', '人'; expected a model of their "
        "language."
    ]
    told = json.loads((tmp_path / "index" / "manifest.json").read_text())["settings"]
    assert told["passages_cut"] == 0
    said = ranker(
        "index",
        chinese,
        *words[:-4],
        "--length",
        16,
        "--passage-prompt",
        "the red stone ",
        *SMALL,
        "-o",
        tmp_path / "b",
    )
    assert "; 40 passages cut, " in said.err


@pytest.mark.parametrize("more", [(), ("--plan",)])
def test_a_reranking_says_so_and_its_manifest_keeps_it(ranker, chinese, first_run, tiny, tmp_path, more):
    words = ("--mode", "cross", "--model", tiny("bert", labels=1), "--run", first_run, "--depth", 3, *SMALL)
    part = tmp_path / "part.run"
    test = {f"q{number}" for number in range(4, 40, 5)}
    part.write_text(
        "".join(line for line in first_run.read_text().splitlines(keepends=True) if line.split()[0] in test)
    )
    said = ranker("rerank", chinese, *words[:4], "--run", part, *words[6:], *more, "-o", tmp_path / "a.run")
    assert said.status == 0, said.err
    assert len(unknown(said.err)) == 1
    if not more:
        shares = json.loads((tmp_path / "a.run.json").read_text())["unknown_tokens"]
        assert shares["queries"] == 0.0
        assert 0.2 < shares["passages"] < 0.4


def test_a_training_says_so_before_it_begins(ranker, chinese, first_run, tiny, tmp_path):
    said = ranker(
        "train", chinese, "--mode", "cross", "--model", tiny(), "--run", first_run, "--length", 40, "--query-length",
        12, "--negatives", 2, "--max-steps", 1, *SMALL, "--leaks", "ignore", "-o", tmp_path / "model",
    )  # fmt: skip
    assert said.status == 0, said.err
    assert unknown(said.err) == said.err.splitlines()[:1]


@pytest.fixture
def index(ranker, long, tiny, tmp_path):
    def make(*words):
        said = ranker("index", long, "--kind", "dense", "--model", tiny(), *words, *SMALL, "-o", tmp_path / "index")
        assert said.status == 0, said.err
        return tmp_path / "index"

    return make


def test_a_query_read_alone_has_all_the_room_there_is_and_where_it_is_cut_that_is_said(ranker, long, index, tmp_path):
    folder = index()
    assert json.loads((folder / "manifest.json").read_text())["settings"]["query_length"] == 64
    said = ranker("retrieve", long, "--index", folder, *SMALL, "-o", tmp_path / "a.run")
    assert said.err.splitlines()[-1].endswith("; 8 queries cut.")


def test_an_index_remembers_how_its_queries_are_read(ranker, long, index, tmp_path):
    folder = index("--query-length", 20, "--query-prompt", "which ", "--similarity", "dot", "--pooling", "max")
    said = ranker("retrieve", long, "--index", folder, *SMALL, "-o", tmp_path / "a.run")
    assert said.status == 0, said.err
    model = json.loads((tmp_path / "a.run.json").read_text())["model"]
    assert {name: model[name] for name in ("query_length", "query_prompt", "similarity", "pooling")} == {
        "query_length": 20, "query_prompt": "which ", "similarity": "dot", "pooling": "max",
    }  # fmt: skip


def test_beside_a_short_passage_a_query_has_what_that_leaves_and_verify_reads_it_so(ranker, long, tiny, tmp_path):
    run = tmp_path / "first.run"
    run.write_text("".join(f"q{number} Q0 d{number} 1 1.0 hand\n" for number in range(4, 40, 5)))
    words = ("--mode", "cross", "--model", tiny("bert", labels=1), "--run", run, *SMALL)
    for more, cut in (((), 8), (("--query-length", 55), 8)):
        said = ranker("rerank", long, *words, *more, "--force", "-o", tmp_path / "a.run")
        assert f"; {cut} queries cut" in said.err
        assert ranker("verify", tmp_path / "a.run").status == 0
    manifest = json.loads((tmp_path / "a.run.json").read_text())
    assert manifest["model"]["query_length"] == 55
    assert manifest["pairs_cut"] == 8  # so long a query leaves six tokens


def test_grades_that_count_alike_in_training_are_told(ranker, dataset, first_run, tiny, tmp_path):
    folder = tmp_path / "graded"
    shutil.copytree(dataset, folder)
    path = folder / "qrels" / "train.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line[:-1] + str(1 + n % 3) for n, line in enumerate(lines[1:]))]) + "\n")
    said = ranker(
        "train", folder, "--mode", "cross", "--model", tiny(), "--run", first_run, "--length", 40, "--query-length",
        12, "--negatives", 2, "--max-steps", 1, *SMALL, "--leaks", "ignore", "-o", tmp_path / "model",
    )  # fmt: skip
    assert "judgments of 1, 2 and 3 count alike: a passage is relevant, or it is not." in said.err.splitlines()


def test_a_dev_value_over_few_candidates_is_told_with_their_number(ranker, dataset, first_run, tiny, tmp_path):
    few, counts = tmp_path / "few.run", {}
    with few.open("w") as file:
        for line in first_run.read_text().splitlines(keepends=True):
            query_id = line.split()[0]
            counts[query_id] = counts.get(query_id, 0) + 1
            if counts[query_id] <= 3:
                file.write(line)
    said = ranker(
        "train", dataset, "--mode", "cross", "--model", tiny(), "--run", few, "--length", 40, "--query-length", 12,
        "--negatives", 2, "--max-steps", 2, *SMALL, "--leaks", "ignore", "-o", tmp_path / "model",
    )  # fmt: skip
    assert ", of 3.0 candidates a query at step " in said.err.splitlines()[-1]


def test_the_language_of_a_dataset_is_remembered_when_it_is_imported_and_used_where_none_is_given(ranker, tmp_path):
    squad = tmp_path / "squad.json"
    paragraph = {
        "context": "Die Häuser stehen am Ufer.",
        "qas": [{"id": "1", "question": "Wo steht das Haus?", "answers": [{"text": "am Ufer", "answer_start": 18}]}],
    }
    squad.write_text(json.dumps({"data": [{"title": "Haus", "paragraphs": [paragraph]}]}))
    said = ranker("import", "squad", squad, "--language", "de", "-o", tmp_path / "german")
    assert said.status == 0, said.err
    assert json.loads((tmp_path / "german" / "dataset.json").read_text()) == {"language": "de"}
    for more, language in (((), "de"), (("--language", "fi"), "fi")):
        assert ranker("index", tmp_path / "german", *more, "--force", "-o", tmp_path / "index").status == 0
        assert json.loads((tmp_path / "index" / "manifest.json").read_text())["settings"]["language"] == language


@pytest.mark.parametrize("content", ['{"language": 3}', '{"locale": "de"}', '{"language": ""}', "[]", "{"])
def test_a_dataset_that_says_its_language_otherwise_is_refused(ranker, dataset, tmp_path, content):
    folder = tmp_path / "mine"
    shutil.copytree(dataset, folder)
    (folder / "dataset.json").write_text(content)
    said = ranker("index", folder, "-o", tmp_path / "index")
    assert said.status == 1
    assert said.err.startswith(f"Error: {folder / 'dataset.json'}: ")


def test_a_dataset_in_a_language_that_there_is_not_is_refused_with_what_was_meant(ranker, dataset, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(dataset, folder)
    (folder / "dataset.json").write_text('{"language": "zh_CN"}')
    said = ranker("index", folder, "-o", tmp_path / "index")
    assert said.status == 1
    assert said.err.startswith(f"Error: {folder / 'dataset.json'}: language is 'zh_CN', expected one of en, ar, ")
    assert said.err.endswith(" Did you mean 'zh'?\n")


def test_a_run_of_no_query_is_not_written(ranker, dataset, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(dataset, folder)
    queries = [{"_id": "q1", "text": "the of and"}, {"_id": "q2", "text": "xyzzy"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    shutil.rmtree(folder / "qrels")
    assert ranker("index", folder, "-o", tmp_path / "index").status == 0
    said = ranker("retrieve", folder, "--index", tmp_path / "index", "-o", tmp_path / "run")
    assert said.status == 1
    assert f"{tmp_path / 'index'}: none of the 2 queries finds a passage; no run is written." in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "option", "owner"),
    [("bm25", "--pooling=max", "dense"), ("bm25", "--faiss=Flat", "dense"), ("dense", "--k1=1.2", "bm25")],
)
def test_a_setting_of_another_kind_of_index_is_refused(ranker, dataset, tmp_path, kind, option, owner):
    said = ranker("index", dataset, "--kind", kind, "--model", "offline", option, "-o", tmp_path / "index")
    assert said.status == 2
    assert f"{option.partition('=')[0]} goes with --kind {owner}, not {kind}." in said.err

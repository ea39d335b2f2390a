import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P

from ranker.data.collection import Collection
from ranker.data.records import Qrels, Query
from ranker.data.run import Run
from ranker.data.trec import read_qrels, read_run, write_run
from ranker.errors import OutputError, SearchIndexError, SetupError
from ranker.index.bm25 import DocIds, LexicalIndex, cached_bm25_index, index_bm25
from ranker.index.java import java_class
from ranker.index.store import MANIFEST, read_manifest, write_manifest
from ranker.settings.index import LANGUAGES, LexicalConfig

CATS = {
    "p1": "The cats were sleeping on the mat.",
    "p2": "A cat and another cat chased the mouse.",
    "p3": "Dogs bark at the postman.",
    "p4": "The postman feeds every dog of the village, and a cat.",
}

# RM3 takes no words that more than one passage in ten has, so there must be some more passages.
OTHERS = {f"o{number}": f"quagga{number}" for number in range(40)}

# Of each language, a passage, and a word of it to find it by: where the analyser stems, in another form.
WORDS = {
    "en": ("The children were running through the gardens.", "garden"),
    "ar": ("الكتاب على الطاولة", "كتاب"),
    "bn": ("বিড়াল ঘুমাচ্ছে", "বিড়াল"),
    "da": ("Katten sover i husene", "hus"),
    "de": ("Die Häuser am Fluss sind alt.", "Haus"),
    "es": ("Los libros están en la mesa.", "libro"),
    "fa": ("کتاب روی میز است", "کتاب"),
    "fi": ("Kissat nukkuvat sohvalla", "kissa"),
    "fr": ("Les chevaux couraient dans la prairie.", "cheval"),
    "hi": ("बच्चे स्कूल जाते हैं", "स्कूल"),
    "hu": ("Az asztalok a házban vannak", "asztal"),
    "id": ("Kucing itu berlari di taman", "lari"),
    "it": ("I ragazzi dormono sul tetto", "ragazzo"),
    "ja": ("東京都に住んでいます", "東京"),
    "ko": ("고양이가 소파에서 잔다", "고양이"),
    "nl": ("De katten slapen op het dak", "kat"),
    "no": ("Kattene sover i husene", "hus"),
    "pl": ("Na stole leżą książki", "książka"),
    "pt": ("Os gatos dormem no telhado", "gato"),
    "ru": ("Книги лежат на столе", "книга"),
    "sv": ("Katterna sover i husen", "hus"),
    "te": ("పిల్లి నిద్రపోతోంది", "పిల్లి"),
    "th": ("แมวนอนหลับอยู่ในบ้าน", "แมว"),
    "tr": ("Kediler evde uyuyor", "kedi"),
    "uk": ("Коти сплять на даху", "кота"),
    "zh": ("北京是中华人民共和国的首都", "首都"),
}

Build = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[[Mapping[str, str]], Collection]:
    def write(texts: Mapping[str, str]) -> Collection:
        folder = tmp_path / f"dataset{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        lines = [json.dumps({"_id": doc_id, "title": "", "text": text}) for doc_id, text in texts.items()]
        (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Collection.open(folder / "corpus.jsonl")

    return write


@pytest.fixture
def build(corpus: Callable[[Mapping[str, str]], Collection], tmp_path: Path) -> Build:
    def built(texts: Mapping[str, str], **settings: object) -> Path:
        folder = tmp_path / f"index{len(list(tmp_path.iterdir()))}"
        index_bm25(corpus(texts), LexicalConfig(**settings), folder)
        return folder

    return built


def ask(folder: Path, *texts: str, depth: int = 10, config: LexicalConfig | None = None) -> Run:
    queries = {f"q{number}": Query(f"q{number}", text) for number, text in enumerate(texts, start=1)}
    return LexicalIndex.open(folder, config=config).search(queries, depth)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"OPENAI_API_KEY": "unused"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_passages_are_found_by_other_forms_of_their_words(build: Build) -> None:
    assert set(ask(build(CATS), "cat")["q1"].doc_ids) == {"p1", "p2", "p4"}


def test_the_scores_are_bm25s(build: Build) -> None:
    # dog is in 2 of 4 passages, once each; without length normalisation only k1 and the idf are left
    run = ask(build(CATS, k1=1.5, b=0.0), "dog")
    idf = np.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    assert run["q1"].scores[0] == pytest.approx(idf / (1 + 1.5), abs=1e-4)
    assert run["q1"].scores.dtype == np.float32


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_each_language_finds_a_passage_by_one_of_its_words(build: Build, language: str) -> None:
    text, word = WORDS[language]
    if language == "th" and not java_class("org.apache.lucene.analysis.th.ThaiTokenizer").DBBI_AVAILABLE:
        with pytest.raises(SetupError, match="this Java cannot segment Thai; set JAVA_HOME to a full JDK"):
            build({"wanted": text}, language=language)
        return
    folder = build({"other": "quagga 12345", "wanted": text, "another": "zyzzyva 67890"}, language=language)
    assert ask(folder, word)["q1"].doc_ids == ("wanted",)


def test_every_language_is_one_that_anserini_knows() -> None:
    known = set(java_class("io.anserini.analysis.AnalyzerMap").analyzerMap.keySet().toArray())
    assert set(LANGUAGES) == {"en", *known}


def test_a_chinese_word_is_found_within_a_sentence_and_a_missing_one_is_not(build: Build) -> None:
    folder = build({"p1": "北京是中华人民共和国的首都", "p2": "上海是一座港口城市"}, language="zh")
    run = ask(folder, "首都", "港口", "广州")
    assert {query_id: ranking.doc_ids for query_id, ranking in run.items()} == {"q1": ("p1",), "q2": ("p2",)}


def test_settings_are_remembered_and_applied_again(build: Build) -> None:
    folder = build(CATS, language="en", k1=2.5, b=0.9)
    remembered = LexicalConfig(k1=2.5, b=0.9)
    assert LexicalIndex.open(folder).config == remembered
    assert ask(folder, "cat mouse")["q1"] == ask(folder, "cat mouse", config=remembered)["q1"]
    assert ask(folder, "cat mouse")["q1"] != ask(folder, "cat mouse", config=LexicalConfig())["q1"]


def test_other_weights_at_search_equal_an_index_built_with_them(build: Build) -> None:
    one, other = build(CATS), build(CATS, k1=2.0, b=0.1)
    config = replace(LexicalIndex.open(one).config, k1=2.0, b=0.1)
    assert ask(one, "the cat and the dog", config=config)["q1"] == ask(other, "the cat and the dog")["q1"]


def test_rm3_finds_passages_that_share_no_word_with_the_query(build: Build) -> None:
    folder = build(CATS | OTHERS, rm3=True)
    plain = ask(folder, "bark", config=LexicalConfig())
    expanded = ask(folder, "bark")
    assert plain["q1"].doc_ids == ("p3",)
    assert expanded["q1"].doc_ids == ("p3", "p4")
    assert (plain.name, expanded.name) == ("bm25", "bm25.rm3")


def test_rm3_takes_words_of_other_alphabets_too(build: Build) -> None:
    texts = {"p1": "Собака лает на почтальона", "p2": "Почтальон принёс письмо", "p3": "Кошка спит"}
    folder = build(texts | OTHERS, language="ru", rm3=True)
    assert ask(folder, "собака")["q1"].doc_ids == ("p1", "p2")


def test_rm3_of_a_query_without_hits_finds_nothing(build: Build) -> None:
    assert len(ask(build(CATS, rm3=True), "giraffe", "the of and", "?!")) == 0


def test_an_index_without_term_vectors_refuses_rm3(build: Build) -> None:
    with pytest.raises(SearchIndexError, match="was built without RM3"):
        LexicalIndex.open(build(CATS), config=LexicalConfig(rm3=True))


def test_an_index_of_one_language_is_not_searched_in_another(build: Build) -> None:
    with pytest.raises(SearchIndexError, match="was built for language en, so it cannot be searched in de"):
        LexicalIndex.open(build(CATS), config=LexicalConfig(language="de"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "tlh"}, "language is 'tlh', expected one of en, ar,"),
        ({"k1": -0.1}, "k1 is -0.1, expected 0.0 to 100.0"),
        ({"k1": float("nan")}, "k1 is nan"),
        ({"b": 1.01}, "b is 1.01, expected 0.0 to 1.0"),
        ({"rm3_passages": 51}, "rm3_passages is 51, expected 1 to 50"),
        ({"rm3_terms": 0}, "rm3_terms is 0, expected 1 to"),
        ({"rm3_weight": 2.0}, "rm3_weight is 2.0"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SearchIndexError, match=message):
        LexicalConfig(**settings)


@pytest.mark.parametrize("depth", [0, -1, 100_001])
def test_a_depth_out_of_bounds_is_refused(build: Build, depth: int) -> None:
    with pytest.raises(SearchIndexError, match="expected 1 to 100000"):
        ask(build(CATS), "cat", depth=depth)


def test_no_more_than_depth_passages_are_found(build: Build) -> None:
    folder = build({f"p{number}": "cat " * (number + 1) for number in range(50)})
    shallow, deep = ask(folder, "cat", depth=7)["q1"], ask(folder, "cat", depth=50)["q1"]
    assert shallow == deep.head(7)


def test_passages_tied_at_the_depth_are_taken_by_doc_id_rising(build: Build) -> None:
    folder = build({f"p{number}": "the same cat" for number in (5, 3, 1, 4, 2)})
    assert ask(folder, "cat", depth=3)["q1"].doc_ids == ("p1", "p2", "p3")


def test_queries_that_find_nothing_are_left_out(build: Build, tmp_path: Path) -> None:
    run = ask(build(CATS), "giraffe", "cat", "the", "  ?! ", "dog")
    assert list(run) == ["q2", "q5"]
    write_run(run, tmp_path / "bm25.run")
    assert dict(read_run(tmp_path / "bm25.run")) == dict(run)


def test_the_order_of_the_queries_is_kept_whatever_the_threads(build: Build) -> None:
    folder = build(CATS)
    queries = {f"q{number}": Query(f"q{number}", "cat dog"[: 3 + number % 5]) for number in range(300)}
    index = LexicalIndex.open(folder)
    one, many = index.search(queries, 10, threads=1), index.search(queries, 10, threads=8)
    assert list(many) == [query_id for query_id in queries if query_id in many]
    assert dict(one) == dict(many)


def test_progress_counts_every_query_and_every_passage(corpus: Callable[..., Collection], tmp_path: Path) -> None:
    done: list[int] = []
    texts = {f"p{number}": f"cat number {number}" for number in range(12_001)}
    index_bm25(corpus(texts), LexicalConfig(), tmp_path / "index", advance=done.append)
    assert sum(done) == 12_001
    assert len(done) > 1
    answered: list[int] = []
    queries = {str(number): Query(str(number), f"number {number} xyzzy") for number in range(100)}
    found = LexicalIndex.open(tmp_path / "index").search(queries, 3, advance=answered.append)
    assert sum(answered) == 100
    # many hits on a large index: doc_ids are those of the passages, through all segments and threads
    assert all(f"p{query_id}" in ranking.doc_ids for query_id, ranking in found.items())


@pytest.mark.parametrize("doc_id", ["a/b", "#1", "пёс", "😀", "é", "\u0301", "a+b:c\\d", '"quoted"', "{}", "x" * 1_000])
def test_a_doc_id_may_be_any_word(build: Build, doc_id: str) -> None:
    folder = build({"before": "a mouse", doc_id: "a cat", "after": "a dog"})
    run = ask(folder, "mouse", "cat", "dog")
    assert [ranking.doc_ids for ranking in run.values()] == [("before",), (doc_id,), ("after",)]


@pytest.mark.parametrize("text", ["cat 😀", "cat \x00", "cat \ud83d", 'cat AND "NOT', "cat* ~2 (^", "CAT\n\r\t"])
def test_a_query_may_hold_any_characters(build: Build, text: str) -> None:
    assert "p2" in ask(build(CATS), text)["q1"].doc_ids


def test_a_query_may_be_longer_than_lucenes_own_limit(build: Build) -> None:
    text = " ".join(f"word{number}" for number in range(5_000)) + " cat"
    assert "p2" in ask(build(CATS), text)["q1"].doc_ids


def test_a_passage_of_control_characters_is_left_out_of_lucene(build: Build) -> None:
    folder = build({"p1": "\x00\x01", "p2": "cat"})
    assert len(LexicalIndex.open(folder)) == 1
    assert ask(folder, "cat")["q1"].doc_ids == ("p2",)


def test_a_title_is_searched_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"_id": "p1", "title": "Giraffes", "text": "Tall."}\n{"_id": "p2", "title": "", "text": "Short."}\n'
    )
    index_bm25(Collection.open(path), LexicalConfig(), tmp_path / "index")
    assert ask(tmp_path / "index", "giraffe tall")["q1"].doc_ids == ("p1",)


def test_another_collection_is_refused_with_both_digests(
    corpus: Callable[..., Collection], build: Build, tmp_path: Path
) -> None:
    folder = build(CATS)
    LexicalIndex.open(folder, corpus(CATS))
    changed = corpus(CATS | {"p5": "One more cat."})
    with pytest.raises(SearchIndexError) as caught:
        LexicalIndex.open(folder, changed)
    assert changed.digest in str(caught.value)
    assert json.loads((folder / MANIFEST).read_text())["digest"] in str(caught.value)


def test_the_manifest_says_what_the_index_was_built_with(build: Build) -> None:
    record = json.loads((build(CATS, language="de") / MANIFEST).read_text())
    assert (record["kind"], record["passages"], record["settings"]["language"]) == ("bm25", 4, "de")
    assert sorted(record["versions"]) == ["anserini", "java", "pyserini", "ranker"]


def test_only_what_rm3_needs_makes_an_index_larger(build: Build) -> None:
    texts = {f"p{number}": f"{text} {number}" for number, text in enumerate([*CATS.values()] * 500)}

    def size(folder: Path) -> int:
        return sum(file["bytes"] for file in json.loads((folder / MANIFEST).read_text())["files"].values())

    assert size(build(texts)) < 0.8 * size(build(texts, rm3=True))


def test_what_lucene_refuses_is_one_sentence_though_every_digest_is_right(build: Build) -> None:
    folder = build(CATS)
    manifest = read_manifest(folder, "bm25")
    for path in (folder / "lucene").glob("segments_*"):
        path.write_bytes(b"x" * path.stat().st_size)
    (folder / MANIFEST).unlink()
    write_manifest(folder, manifest)
    with pytest.raises(SearchIndexError, match=r"index\d+: Lucene refuses it: .*\.$"):
        LexicalIndex.open(folder)


def test_an_index_that_exists_is_replaced_only_by_force(corpus: Callable[..., Collection], build: Build) -> None:
    folder = build(CATS)
    other = corpus({"p9": "Giraffes are tall."})
    with pytest.raises(OutputError, match="exists already"):
        index_bm25(other, LexicalConfig(), folder)
    index_bm25(other, LexicalConfig(), folder, force=True)
    assert ask(folder, "giraffe")["q1"].doc_ids == ("p9",)


def test_ctrl_c_stops_a_build_at_once_and_leaves_nothing(corpus: Callable[..., Collection], tmp_path: Path) -> None:
    collection = corpus({f"p{number}": f"a cat of number {number}" for number in range(20_000)})

    def interrupt(done: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        index_bm25(collection, LexicalConfig(), tmp_path / "stopped", advance=interrupt)
    assert sorted(tmp_path.iterdir()) == before
    index_bm25(collection, LexicalConfig(), tmp_path / "stopped")
    assert len(LexicalIndex.open(tmp_path / "stopped")) == 20_000


def test_ctrl_c_stops_a_search(build: Build) -> None:
    index = LexicalIndex.open(build(CATS))
    queries = {str(number): Query(str(number), "cat") for number in range(10_000)}
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        index.search(queries, 10, advance=interrupt)
    assert len(done) == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
from ranker.data.collection import Collection
from ranker.errors import OutputError
from ranker.index.bm25 import index_bm25
from ranker.settings.index import LexicalConfig
collection = Collection.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
try:
    index_bm25(collection, LexicalConfig(), Path(sys.argv[2]))
except OutputError as error:
    print(error)
"""


def test_where_lucene_cannot_write_nothing_is_left_and_one_sentence_says_it(
    corpus: Callable[..., Collection], tmp_path: Path
) -> None:
    collection = corpus({f"p{number}": f"number{number} cat{number * 7} dog{number * 13}" for number in range(20_000)})
    before = sorted(tmp_path.iterdir())
    done = python(FULL_DISK, collection.path, tmp_path / "index")
    assert done.stdout == f"{tmp_path / 'index'}: cannot be written: File too large; nothing was written.\n"
    assert sorted(tmp_path.iterdir()) == before


QUIET = """
import sys
from pathlib import Path
from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.index.bm25 import LexicalIndex
from ranker.index.bm25 import index_bm25
from ranker.settings.index import LexicalConfig
index_bm25(Collection.open(Path(sys.argv[1])), LexicalConfig(rm3=True), Path(sys.argv[2]))
run = LexicalIndex.open(Path(sys.argv[2])).search({"q": Query("q", "cat")}, 10)
sys.exit(len(run["q"]))
"""


def test_building_and_searching_write_nothing_to_stdout_or_stderr(
    corpus: Callable[..., Collection], tmp_path: Path
) -> None:
    done = python(
        "import warnings\nwarnings.simplefilter('ignore', ResourceWarning)\n" + QUIET,
        corpus(CATS).path,
        tmp_path / "index",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 3)


def test_doc_ids_are_the_same_before_and_after_they_are_shared(tmp_path: Path) -> None:
    names = ["a", "éé", "😀", "", "longer"]
    table = DocIds("".join(names), np.cumsum([len(name) for name in names]))
    assert [table.take([number]) for number in range(4)] == [[name] for name in names[:4]]
    assert table.take([4, 0, 2]) == ["longer", "a", "😀"]
    assert table.take([0])[0] is table.take([0])[0]


def cacm(shared_data: Path) -> tuple[dict[str, Query], Qrels]:
    reader = java_class("io.anserini.search.topicreader.CacmTopicReader")
    topics = reader(java_class("java.nio.file.Paths").get(str(shared_data / "cacm" / "topics.cacm.txt"))).read()
    queries = {str(entry.getKey()): entry.getValue().get("title") for entry in topics.entrySet().toArray()}
    found = {query_id: Query(query_id, text) for query_id, text in queries.items()}
    return found, read_qrels(shared_data / "cacm" / "qrels.cacm.txt")


def cacm_passages(shared_data: Path, folder: Path) -> dict[str, str]:
    """CACM by Anserini's own reader of HTML, which reads every file of a folder: so the archive alone is put in one."""
    folder.mkdir()
    (folder / "cacm.tar.gz").symlink_to(shared_data / "cacm" / "cacm.tar.gz")
    path = java_class("java.nio.file.Paths").get(str(folder))
    collection = java_class("io.anserini.collection.HtmlCollection")(path)
    texts = {}
    for segment_path in collection.getSegmentPaths().toArray():
        pages = collection.createFileSegment(segment_path).iterator()
        while pages.hasNext():
            page = pages.next()
            texts[page.id()] = page.contents()
    return texts


@pytest.mark.slow
def test_cacm_gives_the_figures_that_anserini_publishes(shared_data: Path, build: Build, tmp_path: Path) -> None:
    folder = build(cacm_passages(shared_data, tmp_path / "html"), rm3=True)
    queries, qrels = cacm(shared_data)
    figures = []
    for config in (LexicalConfig(), LexicalConfig(rm3=True)):
        run = LexicalIndex.open(folder, config=config).search(queries, 1_000)
        scores = {
            query_id: dict(zip(ranking.doc_ids, ranking.scores.tolist(), strict=True))
            for query_id, ranking in run.items()
        }
        measured = ir_measures.calc_aggregate([AP, P @ 30], qrels, scores)
        figures.append((round(measured[AP], 4), round(measured[P @ 30], 4)))
    assert figures == [(0.3123, 0.1942), (0.3648, 0.2224)]


LUCENE_SEARCHER = """
import json, sys
from pathlib import Path
from ranker.index.java import start_jvm
start_jvm()
from pyserini.search.lucene import LuceneSearcher
searcher = LuceneSearcher(sys.argv[1])
if sys.argv[3] == "rm3":
    searcher.set_rm3()
queries = json.loads(Path(sys.argv[2]).read_text())
answers = searcher.batch_search(list(queries.values()), list(queries), 1000, 2)
hits = {query_id: [[hit.docid, hit.score] for hit in found] for query_id, found in answers.items()}
Path(sys.argv[4]).write_text(json.dumps(hits))
"""


@pytest.mark.oracle
@pytest.mark.parametrize("rm3", [False, True], ids=["bm25", "rm3"])
def test_squad_gives_the_hits_and_scores_of_lucene_searcher(shared_data: Path, tmp_path: Path, rm3: bool) -> None:
    lines = (shared_data / "squad" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    step = len(lines) // 200
    asked = [json.loads(line) for line in lines[::step][:200]]
    collection = Collection.open(shared_data / "squad" / "corpus.jsonl")
    index_bm25(collection, LexicalConfig(rm3=rm3), tmp_path / "index")
    queries = {query["_id"]: Query(query["_id"], query["text"]) for query in asked}
    run = LexicalIndex.open(tmp_path / "index", collection).search(queries, 1_000)
    (tmp_path / "queries.json").write_text(json.dumps({query_id: query.text for query_id, query in queries.items()}))
    mode = "rm3" if rm3 else "bm25"
    done = python(
        LUCENE_SEARCHER, tmp_path / "index" / "lucene", tmp_path / "queries.json", mode, tmp_path / "hits.json"
    )
    assert done.returncode == 0, done.stderr
    expected = json.loads((tmp_path / "hits.json").read_text())
    assert len(run) == 200
    for query_id, hits in expected.items():
        ours = dict(zip(run[query_id].doc_ids, run[query_id].scores.tolist(), strict=True))
        assert ours == dict(hits)
        assert [np.float32(score) for _, score in hits] == run[query_id].scores.tolist()


# the index that a command makes for itself


@pytest.fixture
def cached_collection(collection_of, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    return collection_of({"d1": "rome lies by the tiber", "d2": "the nile lies in egypt"})


def test_who_needs_an_index_that_another_builds_waits_for_it(cached_collection):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(cached_bm25_index, [cached_collection] * 2)
    assert first == second
    assert best(first) == best(second)
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def best(folder):
    return LexicalIndex.open(folder).search({"q": Query("q", "nile")}, 5)["q"].doc_ids


def test_the_cached_index_is_built_once(cached_collection):
    folder = cached_bm25_index(cached_collection)
    built = (folder / MANIFEST).stat()
    assert cached_bm25_index(cached_collection) == folder
    again = (folder / MANIFEST).stat()
    assert (again.st_ino, again.st_mtime_ns) == (built.st_ino, built.st_mtime_ns)


@pytest.mark.parametrize("damage", ["a bit", "an older format", "a file gone"])
def test_a_cached_index_that_is_damaged_or_of_an_older_format_is_built_again(cached_collection, damage):
    folder = cached_bm25_index(cached_collection)
    manifest, doc_ids = folder / "manifest.json", folder / "doc_ids.txt"
    if damage == "a bit":
        doc_ids.write_bytes(b"x" * doc_ids.stat().st_size)
    elif damage == "an older format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 1}))
    else:
        doc_ids.unlink()
    assert best(cached_bm25_index(cached_collection)) == ("d2",)

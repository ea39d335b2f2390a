"""What every test may use: the shared data where it is at hand, a cache of its own, and tiny models made in memory."""

import atexit
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from ranker.data.collection import Collection

# a shell starts jobs in the background with Ctrl-C ignored, and what these start inherits that
signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" not in os.environ:  # the processes that run tests share the cache of the one that started them
    os.environ["RANKER_CACHE"] = tempfile.mkdtemp(prefix="ranker-tests-")
    atexit.register(shutil.rmtree, os.environ["RANKER_CACHE"], ignore_errors=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from threads that wait for each other

# no test depends on how fast the machine is, or on what else it does
settings.register_profile("any machine", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_LONGEST = "test_the_commands_of_the_readme_run_as_printed"

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

WORDS = (
    "what",
    "which",
    "how",
    "where",
    "is",
    "the",
    "a",
    "of",
    "in",
    "to",
    "and",
    "capital",
    "river",
    "city",
    "old",
    "large",
    "small",
    "red",
    "green",
    "blue",
    "stone",
    "water",
    "paris",
    "london",
    "rome",
    "cairo",
    "lies",
    "by",
    "on",
    "france",
    "england",
    "italy",
    "egypt",
    "seine",
    "thames",
    "tiber",
    "nile",
    "##s",
    "##ing",
    "##ed",
    "x",
    "y",
    "z",
)

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}

_ROBERTA = {"max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 0}
_OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "bert": {},
    "electra": {"embedding_size": 16},
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "mpnet": {"max_position_embeddings": 66},
    "deberta-v2": {"type_vocab_size": 0, "pooler_hidden_size": 32},
    "modernbert": {
        "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
        "global_attn_every_n_layers": 3, "local_attention": 16,
    },
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, so that no process waits for it alone at the end."""
    items.sort(key=lambda item: item.name != _LONGEST)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs a GPU, or a precision, runs where there is one, and says elsewhere why it does not."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device on this machine")
    for marker in item.iter_markers("computes"):
        from ranker.errors import SetupError
        from ranker.model.device import kernels

        try:
            kernels(marker.args[0], "cpu")
        except SetupError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real datasets beside the project; the tests on them are skipped where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS))}
    backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = Lowercase()
    backend.pre_tokenizer = BertPreTokenizer()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the directory of a tiny random model of a type, a plain encoder (labels 0) or a stock classifier."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    from ranker.model.files import quiet

    made: dict[tuple[str, int, str], Path] = {}

    def make(model_type: str = "bert", labels: int = 0, **settings: Any) -> Path:
        key = (model_type, labels, repr(settings))
        if key not in made:
            torch.manual_seed(7)
            own = {**_SIZES, **_OWN_SETTINGS[model_type], **settings}
            config = AutoConfig.for_model(model_type, vocab_size=len(WORDS) + 5, num_labels=labels or 2, **own)
            loader = AutoModelForSequenceClassification if labels else AutoModel
            model = loader.from_config(config)
            for parameter in model.parameters():
                if parameter.ndim > 1:  # wide enough that scores differ
                    torch.nn.init.normal_(parameter, std=0.25)
            made[key] = tmp_path_factory.mktemp(model_type)
            with quiet():  # the first test to ask for it may look at what is said
                model.save_pretrained(made[key])
                _tokenizer().save_pretrained(made[key])
        return made[key]

    return make


@pytest.fixture
def collection_of(tmp_path: Path) -> Callable[[dict[str, str]], "Collection"]:
    """A collection on disk of texts by doc_id."""
    from ranker.data.collection import Collection

    def make(texts: dict[str, str]) -> Collection:
        path = tmp_path / "corpus.jsonl"
        lines = (json.dumps({"_id": doc_id, "title": "", "text": text}) for doc_id, text in texts.items())
        path.write_text("\n".join(lines) + "\n")
        return Collection.open(path)

    return make

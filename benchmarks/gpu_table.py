"""The figures of gpu.py as a section of docs/performance.md."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

PUBLISHED: Final = {
    "NVIDIA H200": (989.0, 989.0, 67.0),
    "NVIDIA H100 80GB HBM3": (989.0, 989.0, 67.0),
    "NVIDIA H100 PCIe": (756.0, 756.0, 51.0),
    "NVIDIA A100-SXM4-80GB": (312.0, 312.0, 19.5),
    "NVIDIA A100-SXM4-40GB": (312.0, 312.0, 19.5),
    "NVIDIA A100 80GB PCIe": (312.0, 312.0, 19.5),
    "NVIDIA L4": (121.0, 121.0, 30.3),
    "NVIDIA L40S": (362.0, 362.0, 91.6),
    "NVIDIA GeForce RTX 4090": (165.0, 165.0, 82.6),
    "Tesla T4": (0.0, 65.0, 8.1),
    "Tesla V100-SXM2-16GB": (0.0, 125.0, 15.7),
}
"""Dense TFLOP/s in bf16, fp16 and float32 by the vendor's data sheets; the names are those that torch gives cards."""

PRECISIONS: Final = ("bf16", "fp16", "float32")


def table(figures: dict[str, Any]) -> str:
    """All sections; those whose figures are not there yet are left out."""
    parts = [header(figures)]
    if "tests" in figures:
        parts.append(tests(figures["tests"]))
    parts.append(peaks(figures))
    if "tasks" in figures:
        parts += [parities(figures), pairs(figures)]
    if "training" in figures:
        parts.append(trainings(figures["training"]))
    parts.append(failures(figures))
    return "\n".join(parts)


def header(figures: dict[str, Any]) -> str:
    """Where, when and with what."""
    machine = figures["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    memory = f", {machine['gib']} GiB, compute capability {machine['capability']}" if "gib" in machine else ""
    title = "## On a GPU" + (": a rehearsal on a CPU, of no worth as a measurement" if figures["rehearsal"] else "")
    command = f"benchmarks/gpu.sh OUT PACK{' --rehearse' if figures['rehearsal'] else ''}"
    return (
        f"{title}\n\n    {command}\n\n"
        f"One {machine['card']}{memory}, {machine['cores']} cores; {figures['date']}, "
        f"{figures['seconds']:.0f} s in all; Python {machine['python']}, {versions}.\n"
    )


def tests(results: dict[str, Any]) -> str:
    """How many tests passed, and which did not."""
    if "error" in results:
        return f"### Tests\n\nNone ran: {results['error']}\n"
    counts = f"{results['passed']} passed, {len(results['failed'])} failed, {len(results['skipped'])} skipped"
    reasons = Counter(name.partition(": ")[2] for name in results["skipped"])
    lines = [f"- {name}" for name in results["failed"]] + [
        f"- {count} skipped: {why}" for why, count in reasons.items()
    ]
    return "\n".join([f"### Tests\n\n`pytest -m gpu`: {counts}.\n", *lines, ""])


def rows_of(figures: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """The tasks of a kind that have a result."""
    return (row for row in figures["tasks"] if row["task"][0] == kind and "error" not in row)


def measured(figures: dict[str, Any]) -> dict[str, float]:
    """TFLOP/s of the largest product, by precision."""
    return dict(figures["machine"]["tflops"])


def published(figures: dict[str, Any]) -> dict[str, float]:
    """The same by the data sheet, where the card is known."""
    rates = PUBLISHED.get(figures["machine"].get("card", ""), ())
    return {name: rate for name, rate in zip(PRECISIONS, rates, strict=False) if rate}


def peaks(figures: dict[str, Any]) -> str:
    """What the card reaches."""
    known, size = published(figures), figures["machine"]["size"]
    lines = [
        (name, f"{rate:.3g}", f"{known[name]:g}" if name in known else "") for name, rate in measured(figures).items()
    ]
    return grid("Peak", PEAK, f"precision | TFLOP/s, measured by {size:,} x {size:,} | TFLOP/s, published", lines)


def parities(figures: dict[str, Any]) -> str:
    """How far packed scores are from padded ones."""
    head = "mode | precision | pairs | spread of scores | from padded | from the CPU's float32 | allowed | within"
    keys = ("spread", "from_padded", "from_cpu", "tolerance")
    lines = [
        (*row["task"][1:], row["pairs"], *(f"{row[key]:.2g}" for key in keys), "yes" if row["within"] else "**no**")
        for row in rows_of(figures, "parity")
    ]
    return grid("Packed beside padded scores", PARITY, head, lines)


def pairs(figures: dict[str, Any]) -> str:
    """Pairs per second, the ratio, and the share of the peak."""
    own, sheet = measured(figures), published(figures)
    head = (
        "model | tokens | precision | ranker | sentence-transformers | times | ranker, tokens ready | "
        "sentence-transformers, tokens ready | times | of the measured peak | of the published"
    )
    lines = []
    for row in rows_of(figures, "pairs"):
        _, precision, shape, shortest, longest = row["task"]
        tokens = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
        batches = f"batches of {row['batch']:,}{', flattened' if row['flattened'] else ''}"
        ours, theirs = row["ranker, tokens ready"], row["peer, tokens ready"]
        rate = row["gflop"] / row["pairs"] * ours / 1e3
        shares = (f"{rate / peak[precision]:.0%}" if precision in peak else "" for peak in (own, sheet))
        from_texts = (f"{row['ranker']:,.0f}", f"{row['peer']:,.0f} ({batches})", f"{row['ranker'] / row['peer']:.2f}")
        ready = (f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}")
        lines.append((shape, tokens, precision, *from_texts, *ready, *shares))
    text = PAIRS + (FLATTENED if figures["machine"]["flash_attn"] else NOT_FLATTENED)
    return grid("Pairs per second", text, head, lines)


def trainings(records: dict[str, Any]) -> str:
    """What was learned, how fast, and what came back."""
    head = "mode | steps | groups | seconds | groups/s | loss, first and last tenth | RR@10 on dev | at step | MiB back"
    lines = []
    for mode, record in records.items():
        if "error" in record:
            continue
        tenth = max(1, len(record["losses"]) // 10)
        first, last = (sum(part) / tenth for part in (record["losses"][:tenth], record["losses"][-tenth:]))
        value, step = (f"{record['kept']['value']:.4f}", record["kept"]["step"]) if record["kept"] else ("", "")
        rate = f"{record['groups'] / max(record['seconds'], 0.1):.0f}"
        counts = (mode, record["steps"], record["groups"], record["seconds"], rate)
        lines.append((*counts, f"{first:.3f}, {last:.3f}", value, step, f"{record['bytes'] / 2**20:.1f}"))
    return grid("Training", TRAINING, head, lines)


def failures(figures: dict[str, Any]) -> str:
    """Every step that has no figure, and why; every test that failed, and scores that are too far off."""
    of_tests, rows = figures.get("tests", {}), figures.get("tasks", ())
    steps = [("tests", of_tests), *((" ".join(map(str, row["task"])), row) for row in rows)]
    steps += [(f"training {mode}", record) for mode, record in figures.get("training", {}).items()]
    lines = [f"- {name}: {record['error']}" for name, record in steps if "error" in record]
    lines += [f"- test {name}" for name in of_tests.get("failed", ())]
    lines += [f"- {' '.join(row['task'])}: beyond the tolerance" for row in rows if row.get("within") is False]
    return "\n".join(["### What failed\n", *(lines or ["Nothing."]), ""])


def grid(title: str, text: str, head: str, lines: Sequence[tuple[Any, ...]]) -> str:
    """A section: its title, what its table shows, and the table."""
    rules = "---|" * (head.count("|") + 1)
    rows = (f"| {' | '.join(map(str, line))} |" for line in lines)
    return "\n".join([f"### {title}\n\n{text}\n", f"| {head} |", f"|{rules}", *rows, ""])


PEAK: Final = """\
The share of the peak below is of the product measured here, on random data, the best of several; float32 without TF32,
for both contenders as here. Published rates are the data sheet's, dense."""

PARITY: Final = """\
Candidates of the questions of dev, scored by ranker without padding and by the model's own classes in transformers in
batches of 32 padded to their longest input, in the same precision and in float32 on the CPU: the largest difference of
a score. `dual` is the backbone of the pack as it is, `cross` the same behind a new classifier."""

PAIRS: Final = """\
Models of these shapes with random weights read made-up pairs of so many tokens, 64 passages for each query. Both
contenders go from texts to scores in host memory, tokenising included, and again from token ids that are ready in host
memory; in turn, three rounds after a first that does not count, the median. sentence-transformers has the weights in
the precision itself, torch's attention, and of batches of 32, 128, 512 and 2,048 those that are fastest here, as far as
a round has room for two of them. The share of the peak is ranker's, tokens ready: the arithmetic of every layer for
every token, whether done or, as most of the last layer's, saved.
"""

FLATTENED: Final = "sentence-transformers' flattened inputs, through flash-attn, are taken where they are faster."

NOT_FLATTENED: Final = "sentence-transformers flattens inputs only for flash-attn, which is not installed here."

TRAINING: Final = """\
On `qa`, for what was left of the time, the embeddings as they were; eight validations on 100 questions of dev, whose
best weights are kept and came back. Losses of every step are in gpu.json."""

"""Facts of a run as `collect` gives them: invented, but of the sizes and shapes of the quickstart."""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any

import pytest

SOURCES = {  # source: (domain, licence, origin, language, documents, bytes)
    "sotu": ("speeches", "public-domain", "human", "en", 241, 1_273_139),
    "austen": ("books", "public-domain", "human", "en", 320, 1_190_224),
    "bible": ("books", "public-domain", "human", "en", 385, 1_157_677),
    "moby": ("books", "public-domain", "human", "en", 135, 1_215_236),
    "handbook": ("manuals", "GPL-2.0-or-later", "human", "en", 298, 953_834),
    "postgres": ("manuals", "PostgreSQL", "human", "en", 237, 697_291),
    "foldoc": ("reference", "GFDL-1.3", "human", "en", 414, 664_972),
    "git": ("manuals", "GPL-2.0-only", "human", "en", 210, 588_310),
    "gcide": ("reference", "GPL-3.0-or-later", "human", "en", 345, 550_778),
    "jargon": ("reference", "public-domain", "human", "en", 301, 525_259),
    "devil": ("reference", "public-domain", "human", "en", 306, 373_213),
    "faq": ("web", "CC-BY-SA-4.0", "human", "en", 197, 186_338),
    "handbook-de": ("manuals", "GPL-2.0-or-later", "human", "de", 192, 641_200),
    "faq-fr": ("web", "CC-BY-SA-4.0", "human", "fr", 126, 196_757),
    "crawl": ("web", "unknown", "unknown", "en", 260, 488_120),
}
REASONS = {
    "language": (331, 279, 866_115),
    "gopher.words": (64, 11, 14_201),
    "gopher.mean_word_length": (9, 0, 30_118),
    "gopher.symbol_ratio": (23, 4, 61_002),
    "gopher.stop_words": (71, 18, 122_870),
    "gopher.duplicate_line_characters": (38, 15, 90_444),
    "c4.curly_bracket": (57, 41, 188_320),
    "c4.lorem_ipsum": (2, 1, 3_911),
    "fineweb.terminal_punctuation": (96, 52, 201_377),
    "fineweb.short_lines": (44, 9, 71_540),
    "exact duplicates": (83, 61, 240_115),
    "near duplicates": (127, 96, 402_660),
    "c4.javascript": (0, 0, 0),
}
PROMPTS = {
    "The first thing to do is": [" to", " a", " the", " not", " that"],
    "In the beginning": [" of", " was", ",", " God", " the"],
    "This program is free software; you can": [" redistribute", " use", " be", " not", " find"],
    "To install the package, you need to": [" be", " do", " use", " install", "\n"],
}


def sha(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def curve(steps: int = 600, step_tokens: int = 8192) -> list[dict[str, Any]]:
    draw, points = random.Random(0), []
    for step in range(1, steps + 1):
        warm, decay = min(1, step / 12), min(1, (steps - step) / (0.3 * steps))
        loss = 3.05 + 5.9 * math.exp(-step / 28) + 1.1 * math.exp(-step / 190) + draw.gauss(0, 0.06)
        seconds = 0.61 + 0.04 * draw.random() + (0.5 if step % 60 == 1 else 0)
        points.append(
            {
                "step": step,
                "tokens": step * step_tokens,
                "loss": loss,
                "learning_rate": 0.0042 * min(warm, max(decay, 0.0)),
                "grad_norm": 0.32 + 4 * math.exp(-step / 20) + abs(draw.gauss(0, 0.05)) + (2.1 if step == 341 else 0),
                "mfu": 0.41 * 0.62 / seconds,
                "workers": 2 if step < 240 else 4 if step < 430 else 3,
                "seconds": seconds,
                "data_wait": 0.004,
            }
        )
    return points


def corpus() -> dict[str, Any]:
    names = ("source", "domain", "licence", "origin", "language")
    groups: dict[str, dict[str, dict[str, int]]] = {name: {} for name in names}
    for source, (domain, licence, origin, language, documents, volume) in SOURCES.items():
        kept = 0.0 if language != "en" else 0.45 if domain == "web" else 0.93
        for name, value in zip(names, (source, domain, licence, origin, language), strict=True):
            row = groups[name].setdefault(
                value, dict.fromkeys(("documents_before", "bytes_before", "documents", "bytes"), 0)
            )
            row["documents_before"] += documents
            row["bytes_before"] += volume
            row["documents"] += int(documents * kept)
            row["bytes"] += int(volume * kept)
    funnel = [
        ("read", 3991, 10_744_190),
        ("normalised", 3967, 10_701_348),
        ("language", 3636, 9_835_233),
        ("gopher", 3497, 9_602_518),
        ("c4", 3446, 9_421_990),
        ("fineweb", 3361, 9_190_104),
        ("exact duplicates", 3290, 8_981_770),
        ("near duplicates", 3194, 8_622_911),
        ("kept", 3194, 8_622_911),
    ]
    held = {"sources": {name: {"documents": 9, "bytes": 30_000} for name in SOURCES}}
    return {
        "funnel": [dict(zip(("step", "documents", "bytes"), row, strict=True)) for row in funnel],
        "reasons": {
            k: {"documents": n, "bytes": b, "sole_documents": s, "sole_bytes": b // 2}
            for k, (n, s, b) in REASONS.items()
        },
        "groups": groups,
        "histograms": histograms(),
        "cuts": {"repeated span": {"documents": 12, "bytes": 40_112}},
        "quarantined": {"not UTF-8": 11, "torn record": 8, "empty": 4, "oversize": 1},
        "repaired": 17,
        "split": {
            "train": {"documents": 3034, "bytes": 8_190_702, **held},
            "validation": {"documents": 160, "bytes": 432_209, **held},
        },
    }


def histograms() -> dict[str, Any]:
    draw = random.Random(2)
    linear = [k / 40 for k in range(41)]
    grown = [10 * 1.2**k for k in range(41)]
    columns = {
        "word_count": (grown, [("gopher.words", ">=", 50.0), ("gopher.most_words", "<=", 10_000.0)]),
        "terminal_punctuation": (linear, [("fineweb.terminal_punctuation", ">=", 0.12)]),
        "top_bigram_characters": (linear, [("gopher.top_bigram", "<=", 0.2)]),
        "mean_word_length": (linear, []),
    }
    for k in range(8):
        columns[f"duplicated_{k}gram_characters"] = (linear, [(f"gopher.duplicated_{k}gram", "<=", 0.1)])
    return {
        name: {
            "edges": edges,
            "documents": [int(900 * math.exp(-((k - 12) ** 2) / 60)) + draw.randrange(5) for k in range(40)],
            "thresholds": [{"rule": r, "op": op, "threshold": t} for r, op, t in thresholds],
        }
        for name, (edges, thresholds) in columns.items()
    }


def borderline() -> list[dict[str, Any]]:
    texts = ("A short note on how the harbour froze in 1881, and what was done.", "Chapter the first. It rained.")
    return [
        {
            "doc_id": sha(text)[:32],
            "source": "moby",
            "domain": "books",
            "reasons": ["gopher.words"],
            "numbers": [{"rule": "gopher.words", "column": "word_count", "op": ">=", "value": 52, "threshold": 50.0}],
            "text": text * 3,
            "spans": [],
            "margin": 0.04 + 0.02 * k,
        }
        for k, text in enumerate(texts)
    ]


def gallery() -> list[dict[str, Any]]:
    a = "The old pump in the yard was mended on Monday by the smith and his two boys before the rain came. "
    b = "The old pump in the yard was mended on Friday by the smith and his three boys before the rain came. "
    return [
        {
            "a_record_id": f"sotu/part-00:{k}",
            "b_record_id": f"crawl/part-01:{k}",
            "a_text": a * 5,
            "b_text": b * 5,
            "jaccard": 0.8 + 0.01 * (k - 4),
            "containment": 0.9,
            "rule": "near",
            "accepted": k >= 4,
        }
        for k in range(9)
    ]


def rejected() -> list[dict[str, Any]]:
    rows = (
        (
            "crawl",
            "fineweb.terminal_punctuation",
            0.04,
            ">=",
            0.12,
            "Home | About | Contact\nCart (0)\nLog in\nShop all shoes\n",
        ),
        (
            "faq-fr",
            "language",
            0.98,
            ">=",
            0.65,
            "Comment puis-je installer le paquet sans droits d'administrateur ? Il suffit de",
        ),
        (
            "crawl",
            "near duplicates",
            0.913,
            "<",
            0.8,
            "All content on this site is provided as is, without warranty of any kind, express or",
        ),
        (
            "gcide",
            "gopher.words",
            31.0,
            ">=",
            50.0,
            'Aardvark \\Aard"vark`\\, n. [D., earth pig.] An edentate mammal of southern Africa.',
        ),
    )
    return [
        {
            "doc_id": sha(text)[:32],
            "record_id": f"{source}/part-00:{k}",
            "source": source,
            "domain": SOURCES[source][0],
            "licence": SOURCES[source][1],
            "reasons": [reason, "gopher.stop_words"] if k == 0 else [reason],
            "numbers": [{"rule": reason, "column": reason, "op": op, "value": value, "threshold": threshold}],
            "text": text * 6,
            "spans": [[5, 12], [40, 52]] if k == 0 else [],
        }
        for k, (source, reason, value, op, threshold, text) in enumerate(rows)
    ]


def peeks(steps: int) -> list[dict[str, Any]]:
    draw, found = random.Random(1), []
    for step, sharp in ((0, 0.0), (steps // 10, 1.4), (steps, 3.2)):
        rows = []
        for prompt, tokens in PROMPTS.items():
            names = [f" {sha((prompt, k))[:4]}" for k in range(5)] if step == 0 else tokens
            weights = [math.exp(sharp * (1 - k / 2) + draw.random() / 2) for k in range(5)]
            total = sum(weights) * (1.05 if sharp > 2 else 1.9 if sharp else 900)
            rows.append({"prompt": prompt, "next": [[t, w / total] for t, w in zip(names, weights, strict=True)]})
        found.append({"step": step, "prompts": rows})
    return found


def artifacts() -> dict[str, Any]:
    parents = {
        "ingest": (),
        "text": ("ingest",),
        "language": ("ingest",),
        "minhash": ("ingest",),
        "dedup": ("ingest", "minhash"),
        "select": ("ingest", "text", "language", "dedup"),
        "baseline": ("select",),
        "tokenizer": ("select",),
        "tokenize": ("select", "tokenizer"),
        "pretrain": ("tokenize", "tokenizer"),
        "evaluate": ("pretrain", "tokenize", "baseline"),
    }
    return {
        name: {
            "id": sha(name)[:16],
            "prefix": f"{name}/{sha(name)[:16]}",
            "sha256": sha((name, 1)),
            "rows": 3967 if k < 5 else 3194 if k < 8 else 1,
            "bytes": 10_701_348 // (k + 1),
            "cpu_seconds": 0.6 * (k + 1),
            "seconds": 391.2 if name == "pretrain" else 0.7 * (k + 1),
            "cost_usd": 0.0000054 * (391.2 if name == "pretrain" else 0.7 * (k + 1)),
            "parents": {above: sha(above)[:16] for above in names},
        }
        for k, (name, names) in enumerate(parents.items())
    }


def full_facts(steps: int = 600) -> dict[str, Any]:
    """Everything a finished run has."""
    start = 1_790_000_000.0
    domains = {"manuals": 1.771, "speeches": 1.934, "books": 2.012, "reference": 2.281, "web": 2.404}
    every = range(steps // 10, steps, steps // 10)
    phases = {"provision": 6.2, "setup": 9.8, "step": 391.4, "eval": 14.9, "checkpoint_save": 7.7, "data_wait": 2.4}
    phases |= {"checkpoint_restore": 1.1, "recovery": 11.3, "wasted": 8.6, "idle": 3.9, "compile": 0.0, "rescale": 2.8}
    return {
        "run": "quickstart",
        "state": "succeeded",
        "created": start,
        "version": "0.1.0",
        "recipe": {
            "name": "quickstart",
            "store": "./store",
            "seed": 0,
            "sources": [
                {"name": s, "uri": f"quickstart/{s}", "domain": v[0], "licence": v[1]} for s, v in SOURCES.items()
            ],
            "model": {"depth": 4, "width": 256, "heads": 4, "context": 256},
            "train": {"max_steps": steps, "optimizer": "muon", "learning_rate": 0.0042},
        },
        "recipe_hash": sha("recipe")[:16],
        "curve": curve(steps),
        "validation": [
            *(
                {
                    "step": s,
                    "bits_per_byte": 1.98 + 2.2 * math.exp(-s / 95),
                    "loss": 3.3,
                    "full": False,
                    "documents": 40,
                }
                for s in every
            ),
            {"step": steps, "bits_per_byte": 1.962, "loss": 3.21, "full": True, "documents": 160, "domains": domains},
        ],
        "peeks": peeks(steps),
        "samples": [
            {
                "prompt": prompt,
                "text": " be made of the sea, and the people of the United States have been the first to be the same "
                "as the other, which is not to be used in the same way.\n\nThe following options are available:\n"
                "  --force  Do not ask.\n",
            }
            for prompt in PROMPTS
        ],
        "corpus": corpus(),
        "ingest": {
            "sources": {
                "crawl": {"quarantined": {"torn record": 8, "empty": 4}},
                "faq": {"quarantined": {"not UTF-8": 11}},
            }
        },
        "rejected": rejected(),
        "borderline": borderline(),
        "gallery": gallery(),
        "threshold": 0.8,
        "tokens": {
            "groups": [
                {"domain": d, "bin": 0, "tokens": n}
                for d, n in (
                    ("books", 901_224),
                    ("manuals", 602_118),
                    ("reference", 511_090),
                    ("speeches", 290_555),
                    ("web", 80_204),
                )
            ],
            "validation": {"documents": 160, "bytes": 432_209, "tokens": 126_300},
            "train_tokens": 2_385_191,
            "train_bytes": 8_190_702,
            "tokenizer": {"sha256": sha("tokenizer"), "vocab_size": 4096},
        },
        "evaluation": {
            "val_bits_per_byte": 1.962,
            "xz_bits_per_byte": 2.541,
            "xz_given_train_bits_per_byte": 2.311,
            "ppmd_bits_per_byte": 2.199,
            "domains": domains,
            "choice": {
                "asked": 160,
                "correct": 101,
                "accuracy": 101 / 160,
                "chance": 0.25,
                "interval": [0.554, 0.702],
                "by_domain": {d: {"asked": 32, "correct": 20, "accuracy": 0.625} for d in domains},
            },
        },
        "account": {
            "elapsed_seconds": sum(phases.values()),
            "phases": phases,
            "goodput": phases["step"] / sum(phases.values()),
            "cost_usd": sum(phases.values()) * 0.0195 / 3600,
            "data_cost_usd": 0.00021,
            "nodes": {"node-a": 300.1, "node-b": 160.0},
            "attempts": 2,
            "price": {"usd_per_hour": 0.0195, "source": "watts x usd_per_kwh", "instance": "owned", "market": "owned"},
        },
        "model": {"parameters": 4_000_512, "steps": steps, "tokens": steps * 8192, "parameter_sha256": sha("model")},
        "artifacts": artifacts(),
        "events": [
            {"ts": start + 1, "kind": "node_up", "step": None, "text": "instance owned, market owned"},
            {"ts": start + 1, "kind": "price", "step": None, "text": "usd_per_hour 0.0195, source watts x usd_per_kwh"},
            {"ts": start + 9, "kind": "restore", "step": 0, "text": "workers 2"},
            {"ts": start + 60, "kind": "checkpoint", "step": 60, "text": "prefix runs/quickstart/checkpoints/1/60"},
            {"ts": start + 121, "kind": "node_down", "step": None, "text": ""},
            {"ts": start + 133, "kind": "restore", "step": 60, "text": "workers 4"},
            {
                "ts": start + 300,
                "kind": "warning",
                "step": 430,
                "text": "resume at step 430: numerics differ, a new exactness era begins",
            },
        ],
    }


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    return full_facts()

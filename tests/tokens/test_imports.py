"""Token files of others become token shards with the same tokens, and those of another kind are refused."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.corpus.inventory import inventory
from raytrain.corpus.section import CorpusSection, Source, SplitSection
from raytrain.errors import UserError
from raytrain.store import Artifact, Store, open_artifact
from raytrain.store.artifact import read_table
from raytrain.tokens import imports
from raytrain.tokens.loader import Tokens
from raytrain.tokens.tokenizer import encoder
from tests.conftest import make_step

END = 0  # the id of end-of-text in the fixture's tokenizer
DOCUMENTS = [[5, 9, 7], [300, 301], [8], [], [5, 9, 7], *([[20 + i, 21, 22, 23] for i in range(60)])]


def flat(documents: list[list[int]], end: bool = True) -> list[int]:
    return [i for ids in documents for i in [*ids, *([END] if end else [])]]


def datatrove(folder: Path, documents: list[list[int]], end: bool = True) -> None:
    """As DocumentTokenizer leaves them (datatrove 0.10): a flat file, uint64 ends, a line that tells the width."""
    ids = flat(documents, end)
    ends = np.cumsum([len(d) + end for d in documents])
    (folder / "00000_unshuffled.ds").write_bytes(struct.pack(f"<{len(ids)}H", *ids))
    (folder / "00000_unshuffled.ds.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
    (folder / "00000_unshuffled.ds.metadata").write_text(f"gpt2|2\n{len(ids)}\n1.0 KT")


def megatron(folder: Path, documents: list[list[int]]) -> None:
    """As Megatron Core's IndexedDatasetBuilder leaves them, int32, in two sequences a document of two tokens."""
    ids = flat(documents)
    lengths = [n for d in documents for n in ([1, len(d)] if len(d) == 2 else [len(d) + 1])]
    starts = np.cumsum([0, *(2 if len(d) == 2 else 1 for d in documents)])
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, len(lengths), len(starts))
    pointers = (np.cumsum(lengths) - lengths) * 4
    body = [np.array(lengths, "<i4"), np.array(pointers, "<i8"), np.array(starts, "<i8")]
    (folder / "web_text_document.idx").write_bytes(head + b"".join(a.tobytes() for a in body))
    (folder / "web_text_document.bin").write_bytes(np.array(ids, "<i4").tobytes())


def nanogpt(folder: Path, documents: list[list[int]]) -> None:
    (folder / "train.bin").write_bytes(np.array(flat(documents), "<u2").tobytes())


def llmc(folder: Path, documents: list[list[int]]) -> None:
    head = np.zeros(256, "<i4")
    head[:3] = 20240520, 1, len(flat(documents))
    (folder / "train.bin").write_bytes(head.tobytes() + np.array(flat(documents), "<u2").tobytes())


WRITERS: dict[str, tuple[str, Callable[[Path, list[list[int]]], None]]] = {
    "datatrove": ("datatrove", datatrove),
    "megatron": ("megatron", megatron),
    "nanogpt": ("nanogpt", nanogpt),
    "llm.c": ("nanogpt", llmc),
}


def imported(store: Store, folder: Path, layout: str, fraction: float = 0.2) -> Artifact:
    tokenizer = open_artifact(store, "tokenizers/x")
    assert tokenizer is not None
    source = Source.model_validate(
        {"name": "theirs", "uri": str(folder), "format": layout, "domain": "web", "licence": "CC0-1.0"}
    )
    config = imports.config_of(CorpusSection(split=SplitSection(validation_fraction=fraction)), [source])
    files = inventory([source], store, lambda line: None)
    return make_step(
        store,
        f"tokens/{folder.name}",
        "tokenize",
        {"tokenizer": tokenizer},
        lambda ctx: imports.run(dataclasses.replace(ctx, config=config), files),
    )


def documents_in(artifact: Artifact) -> list[tuple[str, list[int]]]:
    """Split and ids, end-of-text included, in the order of the rows."""
    found = []
    for shard in range(len(artifact.shards)):
        for row in read_table(artifact, shard, "documents.parquet").to_pylist():
            name = "validation.bin" if row["split"] == "validation" else f"train-{row['group']}.bin"
            ids = np.frombuffer(artifact.get(shard, name), artifact.facts["dtype"])
            found.append((row["split"], ids[row["position"] : row["position"] + row["tokens"]].tolist()))
    return found


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("shard_tokens", [1 << 24, 7])
def test_every_layout_gives_its_documents_whatever_the_shards(
    kind: str, shard_tokens: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "SHARD_TOKENS", shard_tokens)
    folder = tmp_path / kind
    folder.mkdir()
    layout, write = WRITERS[kind]
    write(folder, DOCUMENTS)
    artifact = imported(store, folder, layout)
    found = documents_in(artifact)
    assert [ids for _, ids in found] == [[*ids, END] for ids in DOCUMENTS]
    assert 0 < sum(split == "validation" for split, _ in found) < len(DOCUMENTS) / 2
    assert found[0][0] == found[4][0]  # equal documents stand on one side
    tokens = Tokens(artifact)
    train = [i for split, ids in found if split == "train" for i in ids]
    assert tokens.read(0, 0, tokens.tokens_in(0)).tolist() == train
    assert artifact.facts["train_tokens"] == len(train)


def test_files_without_end_of_text_get_one_behind_each_document(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    datatrove(folder, [d for d in DOCUMENTS if d], end=False)
    found = documents_in(imported(store, folder, "datatrove"))
    assert [ids for _, ids in found] == [[*ids, END] for ids in DOCUMENTS if ids]


@pytest.mark.parametrize("shard_tokens", [1 << 24, 7])
def test_empty_documents_count_wherever_they_stand(
    shard_tokens: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "SHARD_TOKENS", shard_tokens)
    held = [[], *DOCUMENTS, [], []]
    for name, documents in (("some", held), ("none", [[], []])):
        (tmp_path / "empty" / name).mkdir(parents=True)
        datatrove(tmp_path / "empty" / name, documents, end=False)
    found = documents_in(imported(store, tmp_path / "empty", "datatrove"))
    assert [ids for _, ids in found] == [[*ids, END] for ids in [[], [], *held]]


def test_a_task_carries_nothing_but_its_own_files(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "many"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        datatrove(folder / name, DOCUMENTS)
        for number in range(20):
            (folder / name / f"{number}.ds.index").write_bytes(b"")
    carried: list[Any] = []

    def noted(task: Any) -> Any:
        carried.append(task["beside"])
        return import_shard(task)

    import_shard = imports.import_shard
    monkeypatch.setattr(imports, "import_shard", noted)
    imported(store, folder, "datatrove")
    names = ("00000_unshuffled.ds.index", "00000_unshuffled.ds.metadata")
    assert carried == [{name: f"file://{folder}/{place}/{name}" for name in names} for place in ("a", "b")]


def test_a_file_named_val_is_held_out_whole(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    nanogpt(folder, DOCUMENTS)
    (folder / "val.bin").write_bytes(np.array(flat([[1, 2, 3], [4]]), "<u2").tobytes())
    artifact = imported(store, folder, "nanogpt", fraction=0.0)
    assert [ids for split, ids in documents_in(artifact) if split == "validation"] == [[1, 2, 3, END], [4, END]]


def test_validation_bytes_are_those_of_the_text(store: Store, tmp_path: Path) -> None:
    tokenizer = open_artifact(store, "tokenizers/x")
    assert tokenizer is not None
    coder = encoder(tokenizer.get(0, "tokenizer.json").decode(), "<|endoftext|>")
    texts = [f"the house of {i} – über all\n" for i in range(30)]
    folder = tmp_path / "texts"
    folder.mkdir()
    nanogpt(folder, [coder.encode([text]).ids.tolist() for text in texts])
    artifact = imported(store, folder, "nanogpt")
    held = artifact.facts["validation"]
    assert artifact.facts["train_bytes"] + held["bytes"] == sum(len(text.encode()) for text in texts)
    assert all(
        d.bytes == len(coder.reference.decode(d.tokens[:-1].tolist()).encode()) for d in Tokens(artifact).validation()
    )


def spoilt(folder: Path, name: str, spoil: Callable[[bytes], bytes | None]) -> None:
    data = spoil((folder / name).read_bytes())
    (folder / name).unlink()
    if data is not None:
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("kind", "name", "spoil", "says"),
    [
        ("datatrove", "00000_unshuffled.ds", lambda b: b[:-4], "its index says"),
        ("datatrove", "00000_unshuffled.ds.index", lambda b: None, "save_index"),
        ("datatrove", "00000_unshuffled.ds", lambda b: b"\xff\xff" + b[2:], "name the tokenizer"),
        ("megatron", "web_text_document.idx", lambda b: None, "no web_text_document.idx"),
        ("megatron", "web_text_document.idx", lambda b: b[:-60], "cut, or no index"),
        ("megatron", "web_text_document.bin", lambda b: b[:-4], "copy both again"),
        ("nanogpt", "train.bin", lambda b: b[:-1], "copy both again"),
        ("llm.c", "train.bin", lambda b: b[:-500], "copy"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    kind: str, name: str, spoil: Callable[[bytes], bytes | None], says: str, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "spoilt"
    folder.mkdir()
    layout, write = WRITERS[kind]
    write(folder, DOCUMENTS)
    spoilt(folder, name, spoil)
    with pytest.raises(UserError, match=says):
        imported(store, folder, layout)


def test_a_run_without_a_validation_document_is_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    nanogpt(folder, DOCUMENTS)
    with pytest.raises(UserError, match="validation_fraction"):
        imported(store, folder, "nanogpt", fraction=0.0)


def test_a_folder_without_a_file_of_its_layout_is_refused(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    nanogpt(folder, DOCUMENTS)
    with pytest.raises(UserError, match=r"theirs.*no \.ds file"):
        imported(store, folder, "datatrove")

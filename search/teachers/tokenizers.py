"""A pre-trained teacher's tokenizer: its files, its class, and whether it is the one its model was trained with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.errors import InputError, first_line
from fusion.checkpoints.files import count_of, is_there, read_config, read_object
from fusion.tokenizer.source import TokenizerErrors

Text = tuple[str, str | None]
# What a tokenizer is made of, of which one at least must be there; SentencePiece models have names of their own.
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_JSON_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
# Classes that may declare themselves a family's, as transformers names them. XLM-RoBERTa's serves multilingual BERTs.
# A config.json that names another tokenizer_class is taken at its word.
_WORD_PIECES = ("Bert", "DistilBert", "Electra", "MobileBert", "BertJapanese", "BertGeneration", "XLMRoberta")
_BYTE_PAIRS = ("Roberta", "Bart", "GPT2")
_SENTENCE_PIECES = ("XLMRoberta", "Camembert")
_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "albert": ("Albert",),
        "bert": _WORD_PIECES,
        "camembert": _SENTENCE_PIECES,
        "distilbert": _WORD_PIECES,
        "electra": _WORD_PIECES,
        "roberta": _BYTE_PAIRS,
        "xlm-roberta": _SENTENCE_PIECES,
    }
)
# These take tokenizer.json as it is.
_GENERIC = ("PreTrainedTokenizer", "TokenizersBackend", "PythonBackend")
_COUNT_FROM_PADDING = ("camembert", "roberta", "xlm-roberta")
# Families that were trained without token types, whatever their tokenizers give.
_WITHOUT_TYPES = ("distilbert", *_COUNT_FROM_PADDING)
_MANY_UNKNOWN, _MOST_UNKNOWN = 0.05, 0.5  # of a task's tokens: worth saying, and too many
_MOST_DIFFERING = 0.1  # of the texts, between a tokenizer's class and its file
_MOST_UNUSED = 0.02  # of the embeddings; vocabularies are padded to round sizes


def load_tokenizer(source: Path, words: bool = False) -> Any:
    """The tokenizer of a Hugging Face folder, of the class that the folder declares.

    Its ``model_input_names``, which are saved with it, name ``token_type_ids`` where the model tells several token
    types apart, and not where its family has none; whoever calls it then gets what the model takes.

    Args:
        source: The folder.
        words: Whether it will be given words (``is_split_into_words``), which byte-level BPE has to begin with a space.

    Raises:
        InputError: there is none, its files are damaged, it is another family's or comes with code of its own.
    """
    from transformers import AutoTokenizer

    from fusion.checkpoints.configuration import load_config
    from fusion.checkpoints.loading import quiet_transformers

    declared = _declared_class(source)
    with quiet_transformers(), tokenizer_errors(source):
        # The family's own configuration: where no class is declared, it is the family's.
        config = load_config(source)
        config.tokenizer_class = declared or None
        settings = _settings(config, words)
        return AutoTokenizer.from_pretrained(
            source, config=config, local_files_only=True, trust_remote_code=False, **settings
        )


def _settings(config: Any, words: bool) -> dict[str, Any]:
    """What the tokenizer is told beside what its files say."""
    settings: dict[str, Any] = {}
    types = getattr(config, "type_vocab_size", 1)
    if types > 1:
        settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    elif config.model_type in _WITHOUT_TYPES:
        settings["model_input_names"] = ["input_ids", "attention_mask"]
    if words:
        settings["add_prefix_space"] = True
    return settings


def check_tokenizer(
    tokenizer: Any, config: Any, texts: Sequence[Text], seq_len: int, source: Path, words: bool = False
) -> tuple[str, ...]:
    """Whether a tokenizer is the model's own, as far as files and a task's texts can tell; returns remarks.

    Args:
        tokenizer: As :func:`load_tokenizer` gives it.
        config: The encoder's ``BertConfig``.
        texts: Some of the task's, in pairs where it has pairs.
        seq_len: Where they are cut.
        source: The folder of both.
        words: As for :func:`load_tokenizer`.

    Raises:
        InputError: it gives ids or token types that the model has no embeddings of, does not know the task's words, or
            numbers or cuts them otherwise than another of its files says; file or token is named.
    """
    _check_vocabulary(tokenizer, config.vocab_size, source)
    _check_padding(tokenizer, source)
    _check_other_vocabularies(tokenizer, source)
    with tokenizer_errors(source):
        first, second = [text for text, _ in texts], [second for _, second in texts if second is not None]
        batch = tokenizer(first, second or None, truncation=True, max_length=seq_len, padding=False)
    unknown = _check_ids(batch["input_ids"], tokenizer, source)
    _check_types(batch.get("token_type_ids", [[0]]), config.type_vocab_size, source)
    # A space before each word, as the tokenizer of words has it, is in tokenizer.json where it is in the text.
    differing = _check_against_json(tokenizer, [f" {text}" if words else text for text in (*first, *second)], source)
    return (*_remarks(tokenizer, batch["input_ids"], config.vocab_size), *unknown, *differing)


def foreign_class(tokenizer: Any) -> str | None:
    """The class of a tokenizer that a BERT's folder has to name, for it is not one of a BERT's own."""
    name = type(tokenizer).__name__.removesuffix("Fast")
    return None if name in _GENERIC or name.removesuffix("Tokenizer") in _CLASSES["bert"] else name


def tokenizer_errors(source: Path) -> TokenizerErrors:
    """A context in which what transformers and tokenizers make of damaged files is told in one line."""

    def told(error: Exception) -> InputError:
        problem = "need what is not installed" if isinstance(error, ImportError) else "are damaged"
        return InputError(f"teacher {source}: its tokenizer's files {problem} ({first_line(error)})")

    return TokenizerErrors(told)


def _declared_class(source: Path) -> str:
    """The tokenizer's class without ``Fast``, of which transformers knows the like; "" where none is declared.

    Raises:
        InputError: no files, no JSON, or a class of another family, whose ids mean other words.
    """
    if not any(path.is_file() for pattern in _FILES for path in source.glob(pattern)):
        raise InputError(f"teacher {source}: no tokenizer; copy tokenizer.json (or vocab.txt) beside its config.json")
    if not any((source / name).is_file() for name in _FILES[:3]) and find_spec("sentencepiece") is None:
        raise InputError(
            f"teacher {source}: its tokenizer is a SentencePiece model alone, and sentencepiece is not installed; load "
            "it where it is, and write tokenizer.json with save_pretrained"
        )
    documents = {name: read_object(source / name) for name in _JSON_FILES if is_there(source / name)}
    settings, config = documents.get("tokenizer_config.json", {}), read_config(source)
    code = settings.get("auto_map")
    if code.get("AutoTokenizer") if isinstance(code, dict) else code:
        raise InputError(
            f"teacher {source}: its tokenizer comes with code of its own (auto_map in tokenizer_config.json), "
            "which is never run; save it as tokenizer.json where you trust it"
        )
    named = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    declared = str(settings.get("tokenizer_class") or named).removesuffix("Fast")
    _check_class(declared, named, str(config.get("model_type")), source)
    return declared


def _check_class(declared: str, named: str, family: str, source: Path) -> None:
    """``named`` is the class that config.json itself names, for models with a tokenizer that is not their family's."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if declared in ("", named, *_GENERIC) or declared.removesuffix("Tokenizer") in _CLASSES[family]:
        return
    place = f"teacher {source}: its tokenizer_class is {declared}"
    if tokenizer_class_from_name(declared) is None:
        raise InputError(f"{place}, unknown to transformers; PreTrainedTokenizerFast takes tokenizer.json as it is")
    raise InputError(
        f"{place}, not one of {family}'s ({', '.join(name + 'Tokenizer' for name in _CLASSES[family])}); where the "
        "model was trained with it nevertheless, name it as tokenizer_class in config.json too"
    )


def _check_vocabulary(tokenizer: Any, rows: int, source: Path) -> None:
    """Every id has an embedding."""
    beyond = [token for token, number in tokenizer.get_vocab().items() if not 0 <= number < rows]
    if beyond:
        raise InputError(
            f"teacher {source}: {count_of(beyond, 'token')} of its tokenizer have ids beyond the model's {rows} word "
            "embeddings; give it the tokenizer that it was trained with, or resize_token_embeddings and train it"
        )


def _check_padding(tokenizer: Any, source: Path) -> None:
    """Where positions are counted from behind the padding's id, tokenizer and model agree on it."""
    config = read_config(source)
    stated, own = config.get("pad_token_id", 1), tokenizer.pad_token_id
    if config["model_type"] in _COUNT_FROM_PADDING and own not in (None, stated):
        raise InputError(
            f"teacher {source}: its tokenizer pads with token {own}, pad_token_id in config.json is {stated}, from "
            "behind which positions are counted; one of them is not the model's"
        )


def _check_other_vocabularies(tokenizer: Any, source: Path) -> None:
    """Where vocab.txt or vocab.json lies beside tokenizer.json, all are of one tokenizer: any may be the model's."""
    if not (source / "tokenizer.json").is_file():
        return
    known = tokenizer.get_vocab()
    for name, numbers in _other_vocabularies(source):
        for word, number in numbers.items():
            if word in known and known[word] != number:
                raise InputError(
                    f"teacher {source}: {word!r} is token {known[word]} by tokenizer.json, {number} by {name}; "
                    "remove the one that the model was not trained with"
                )


def _other_vocabularies(source: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    path = source / "vocab.txt"
    if path.is_file():
        # Not splitlines, to which some tokens (U+2028) are ends of lines.
        words = [line.rstrip("\r") for line in path.read_text(encoding="utf-8", errors="replace").split("\n")]
        counts = Counter(words)
        yield path.name, {word: number for number, word in enumerate(words) if counts[word] == 1}
    if (source / "vocab.json").is_file():
        yield "vocab.json", read_object(source / "vocab.json")


def _check_ids(ids: Sequence[Sequence[int]], tokenizer: Any, source: Path) -> tuple[str, ...]:
    """The task's texts become tokens, most of them known."""
    if min(map(len, ids)) == 0:
        raise InputError(f"teacher {source}: its tokenizer makes no tokens of some of the task's texts")
    special = {number for number in tokenizer.all_special_ids if number != tokenizer.unk_token_id}
    words = [number for row in ids for number in row if number not in special]
    unknown = words.count(tokenizer.unk_token_id)
    told = f"its tokenizer does not know {unknown} of {len(words)} tokens of the task's texts"
    if unknown > _MOST_UNKNOWN * len(words):
        raise InputError(
            f"teacher {source}: {told}; is it of another language, or are its files (vocab.txt, tokenizer.json) not "
            "those that it was trained with?"
        )
    return (told,) if unknown > _MANY_UNKNOWN * len(words) else ()


def _check_types(types: Sequence[Sequence[int]], known: int, source: Path) -> None:
    largest = max(max(row, default=0) for row in types)
    if largest >= known:
        raise InputError(
            f"teacher {source}: its tokenizer tells {largest + 1} token types apart in the task's pairs, "
            f"type_vocab_size in config.json is {known}"
        )


def _check_against_json(tokenizer: Any, texts: Sequence[str], source: Path) -> tuple[str, ...]:
    """The class cuts texts as tokenizer.json does: transformers 5 takes the vocabulary from it, and not always more.

    Some texts may differ, such as those with two spaces where XLM-RoBERTa's class and file differ: that is remarked.
    """
    from tokenizers import Tokenizer

    path = source / "tokenizer.json"
    if not path.is_file():
        return ()
    with tokenizer_errors(source):
        stored = Tokenizer.from_file(str(path))
        stored.no_padding()
        stored.no_truncation()
        expected = [row.ids for row in stored.encode_batch(list(texts), add_special_tokens=False)]
        found = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    differing = [each for each in zip(texts, found, expected, strict=True) if each[1] != each[2]]
    if not differing:
        return ()
    text, row, other = differing[0]
    shown = text if len(text) < 60 else text[:56] + " ..."
    told = (
        f"tokenizer.json and {type(tokenizer).__name__} of tokenizer_config.json make other tokens of {len(differing)} "
        f"of {len(texts)} texts, such as {shown!r}{_told(tokenizer, row, other)}"
    )
    if len(differing) > _MOST_DIFFERING * len(texts):
        raise InputError(
            f"teacher {source}: {told}; set tokenizer_class to PreTrainedTokenizerFast to take tokenizer.json as it "
            "is, or remove tokenizer.json"
        )
    return (f"{told}; those of {type(tokenizer).__name__} are taken",)


def _told(tokenizer: Any, row: Sequence[int], other: Sequence[int]) -> str:
    """The first tokens that differ."""
    pair = next((list(pair) for pair in zip(row, other, strict=False) if pair[0] != pair[1]), None)
    if pair is None:
        return ""
    own, stored = tokenizer.convert_ids_to_tokens(pair)
    return f" ({stored!r} and {own!r})"


def _remarks(tokenizer: Any, ids: Sequence[Sequence[int]], rows: int) -> Iterator[str]:
    unused = rows - len(tokenizer.get_vocab())
    if unused > _MOST_UNUSED * rows:
        yield f"its tokenizer has no token for {unused} of the model's {rows} word embeddings: is it the model's own?"
    special = set(tokenizer.all_special_ids)
    if not special.issuperset(row[0] for row in ids):
        yield "its tokenizer puts no special token first, though that is what classifiers read"

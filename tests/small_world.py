"""A small but real setting for whole searches: a data set in GLUE's layout, and a teacher pre-trained on its language.

The sentences are film reviews put together at random; the label is whether praise outweighs blame. The teacher is
an ordinary Hugging Face checkpoint, 3 layers of 128, with a WordPiece tokenizer; it learns in seconds on one core.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

PRAISE = "wonderful moving brilliant funny clever warm elegant honest fresh gripping".split()
BLAME = "dull clumsy tedious shallow cold lazy stale noisy hollow bland".split()
NEUTRAL = "film plot cast music story ending camera script scene pace actor director dialogue light colour set".split()
JOINERS = "the a and with but of its is was very quite rather".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LENGTH = 24


def sentence(rng: random.Random) -> tuple[str, int]:
    """A sentence of 6 to 14 words with more praise than blame (1) or the reverse (0)."""
    label = rng.randrange(2)
    strong, weak = (PRAISE, BLAME) if label else (BLAME, PRAISE)
    words = rng.choices(strong, k=rng.randint(2, 3)) + rng.choices(weak, k=rng.randint(0, 1))
    words += rng.choices(NEUTRAL, k=rng.randint(2, 5)) + rng.choices(JOINERS, k=rng.randint(2, 5))
    rng.shuffle(words)
    return " ".join(words), label


def write_reviews(folder: Path, train: int = 320, dev: int = 160, seed: int = 0) -> Path:
    """Writes ``folder/SST-2/{train,dev}.tsv`` and returns ``folder``."""
    rng = random.Random(seed)
    (folder / "SST-2").mkdir(parents=True)
    for name, count in (("train", train), ("dev", dev)):
        rows = ["\t".join(map(str, sentence(rng))) for _ in range(count)]
        (folder / "SST-2" / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows, ""]))
    return folder


def write_teacher(folder: Path, steps: int = 120, seed: int = 1) -> Path:
    """Pre-trains the small teacher on reviews of its own, saves it with its tokenizer, and returns ``folder``."""
    folder.mkdir(parents=True)
    letters = list("abcdefghijklmnopqrstuvwxyz.,")
    words = SPECIAL + letters + [f"##{letter}" for letter in letters] + sorted({*PRAISE, *BLAME, *NEUTRAL, *JOINERS})
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(words)) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=128,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=256,
                max_position_embeddings=128,
            )
        )
        train(model, tokenizer, steps, random.Random(seed))
    model.bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(model: BertForSequenceClassification, tokenizer: BertTokenizerFast, steps: int, rng: random.Random) -> None:
    """Plain classification: enough for the encoder to know its words."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(steps):
        texts, labels = zip(*(sentence(rng) for _ in range(32)), strict=True)
        batch = tokenizer(list(texts), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        loss = model(**batch, labels=torch.tensor(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()

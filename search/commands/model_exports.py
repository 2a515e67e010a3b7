"""What ``fuse-model`` writes: a compiled model as files that run without Python, and as what goes into an app."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.commands._options import given_options

if TYPE_CHECKING:
    from fusion.compiled import CompiledModel
    from fusion.texts import Texts

_NO_TOKENIZER = "no tokenizer lies with the model; --tokenizer names a directory that has it"


@dataclass(frozen=True)
class Exports:
    """What is asked for: folders of an export and of an app's parts, the name and GPUs of the app's library, and the
    directory with the tokenizer, where that is named."""

    folder: Path | None
    android: Path | None
    name: str
    gpu_family: str | None
    tokenizer: Path | None

    def check(self, unit: str) -> None:
        """Refuse a name that no library can have, and what belongs to an export where none is asked for."""
        from fusion.build.android import checked_name

        checked_name(self.name)
        exports = self.folder is not None or self.android is not None
        problems = {
            "--name": "" if self.android else "belongs to --export-android",
            "--gpu-family": "" if self.android and unit == "gpu" else "belongs to --export-android with --unit gpu",
            "--tokenizer": "" if exports else "belongs to --export and --export-android",
        }
        for option, problem in problems.items():
            if problem and option in given_options():
                raise click.UsageError(f"{option} {problem}.")

    def write(self, compiled: CompiledModel, model: str) -> dict[str, Any]:
        """Writes what is asked for; the folders, and what the model takes there, by name."""
        from fusion import export_android, export_compiled

        written: dict[str, Any] = {}
        if self.folder is None and self.android is None:
            return written
        texts, takes = self._texts(compiled, Path(model))
        if self.folder is not None:
            written["export"] = str(export_compiled(compiled, self.folder, texts=texts))
        if self.android is not None:
            options = {"gpu_family": self.gpu_family, "texts": texts}
            written["export_android"] = str(export_android(compiled, self.android, self.name, **options))
        return written | {"takes": takes}

    def _texts(self, compiled: CompiledModel, model: Path) -> tuple[Texts | None, str]:
        """How the exported model takes texts, and in words. A tokenizer that was not asked for may be unknown."""
        from fusion.texts import texts_of, texts_or_reason

        if self.tokenizer is not None:
            texts: Texts | str = texts_of(compiled, self.tokenizer)
        else:
            texts = texts_or_reason(compiled, model) if model.is_dir() else _NO_TOKENIZER
        if isinstance(texts, str):
            return None, f"token ids, not texts: {texts}"
        return texts, f"texts: it {texts.answers.kind}"

"""The compiler: operator graph, rewriting, fusion plan, generated C, compiled models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.block import Block, Cost, make_block
from fusion.build.machine import Machine, Processor
from fusion.build.runner import Runner, build_model_suite, build_suite
from fusion.planning.architecture_plan import plan_architecture
from fusion.target import Target, best_target, host_target, host_target_named, target_named

if TYPE_CHECKING:
    from fusion.compiled import CompiledModel
    from fusion.texts import Texts

__all__ = [
    "Block",
    "Cost",
    "Machine",
    "Processor",
    "Runner",
    "Target",
    "best_target",
    "build_model_suite",
    "build_suite",
    "compile_model",
    "export_android",
    "export_compiled",
    "host_target",
    "host_target_named",
    "make_block",
    "plan_architecture",
    "target_named",
]


def compile_model(source: Any, **options: Any) -> CompiledModel:
    """Compiles an ONNX file or a Hugging Face directory: :func:`fusion.compiled.compile_model`."""
    from fusion import compiled

    return compiled.compile_model(source, **options)


def export_compiled(
    model: CompiledModel, directory: Path, machine: Machine | None = None, texts: Texts | None = None
) -> Path:
    """Writes a compiled model as files that run without Python: :func:`fusion.export.export_compiled`."""
    from fusion import export

    return export.export_compiled(model, directory, machine, texts)


def export_android(model: CompiledModel, directory: Path, name: str = "model", **options: Any) -> Path:
    """Writes a compiled model as what goes into an app: :func:`fusion.android_export.export_android`."""
    from fusion import android_export

    return android_export.export_android(model, directory, name, **options)

"""Whether a compiled model computes what ONNX Runtime does with the file that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.architecture import Architecture
from data.errors import ModelError
from data.usable_processors import usable_processors

if TYPE_CHECKING:
    import numpy as np


def max_difference(compiled: Any, onnx: Path, architecture: Architecture, seed: int) -> float:
    """Largest |difference| from ONNX Runtime in any output, over random ids: one token, half of the length, all of it.

    Padded tokens' rows are compared as well: they attend to the tokens that are kept, as these do, so that their
    numbers are as determined, though nobody reads them.

    Raises:
        ModelError: an output is missing, or of another shape.
    """
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = usable_processors().count
    # ONNX Runtime's threads spin after a run, which would slow the measurement that follows.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(onnx), settings, providers=["CPUExecutionProvider"])
    names = {port.name for port in session.get_inputs()}
    random = np.random.default_rng(seed)
    differences = []
    for tokens in (1, max(1, architecture.seq_len // 2), architecture.seq_len):
        inputs = {name: ids for name, ids in random_inputs(random, architecture, tokens).items() if name in names}
        differences.append(_largest_difference(compiled.run(inputs), session.run(None, inputs), onnx))
    return float(np.max(differences))


def _largest_difference(made: Sequence[np.ndarray], expected: Sequence[np.ndarray], onnx: Path) -> float:
    """Not a number where one of them is not."""
    import numpy as np

    shapes, wanted = ([tuple(np.shape(output)) for output in outputs] for outputs in (made, expected))
    if shapes != wanted:
        raise ModelError(f"{onnx}: the compiled model gives outputs of the shapes {shapes}, not {wanted}")
    return float(np.max([np.abs(one - other).max() for one, other in zip(made, expected, strict=True)]))


def random_inputs(random: np.random.Generator, architecture: Architecture, tokens: int) -> dict[str, np.ndarray]:
    """Inputs of one text of ``tokens`` random tokens, padded: each (1, seq_len) int64."""
    import numpy as np

    mask = np.zeros((1, architecture.seq_len), dtype=np.int64)
    mask[0, :tokens] = 1
    ids = random.integers(0, architecture.vocab_size, mask.shape)
    types = random.integers(0, architecture.token_types, mask.shape)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types * mask}

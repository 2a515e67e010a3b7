"""Exports a compiled model as files that run without Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from fusion.build.toolchain import RUNTIME
from fusion.compiled import CompiledModel
from fusion.target import Target

_EXAMPLE = """/* Runs the model once: cc example.c ./model.so -o example && ./example weights.bin */
#include "pocketbert.h"
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words) {{
  char error[512];
  pb_model *model = pb_open("model", count > 1 ? words[1] : "weights.bin", {threads}, 0, error, sizeof error);
  if (!model) {{
    fprintf(stderr, "error: %s\\n", error);
    return 1;
  }}
  const pb_program *program = pb_program_of(model);
  const int64_t *inputs[PB_MAX_INPUTS];
  float *outputs[PB_MAX_INPUTS];
  for (int i = 0; i < program->input_count; i++) {{
    int64_t *ids = malloc(sizeof(int64_t) * program->inputs[i].rows);
    for (int r = 0; r < program->inputs[i].rows; r++) ids[r] = 1;
    inputs[i] = ids;
  }}
  for (int i = 0; i < program->output_count; i++)
    outputs[i] = malloc(sizeof(float) * program->outputs[i].rows * program->outputs[i].columns);
  int bad = pb_run(model, inputs, outputs);
  if (bad) fprintf(stderr, "error: input %s holds an id that is out of range\\n", program->inputs[bad - 1].name);
  else for (int j = 0; j < program->outputs[0].columns; j++) printf("%g\\n", outputs[0][j]);
  pb_close(model);
  return bad != 0;
}}
"""


def export_compiled(model: CompiledModel, directory: Path, runner_target: Target | None = None) -> Path:
    """``model.so``, ``pocketbert.h``, ``example.c``, ``runner`` and ``weights.bin`` in a directory: no Python needed.

    The library and ``weights.bin`` are for the model's own target; a runner for another target has weights of its
    own, ``runner-weights.bin``, because packing follows the target's vectors.
    """
    runner_target = runner_target or model.target
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model.library(), directory / "model.so")
    shutil.copyfile(RUNTIME / "pocketbert.h", directory / "pocketbert.h")
    shutil.copyfile(model.weights(), directory / "weights.bin")
    (directory / "example.c").write_text(_EXAMPLE.format(threads=model.threads), encoding="utf-8")
    runner = model.runner(runner_target)
    shutil.copyfile(runner.executable, directory / "runner")
    (directory / "runner").chmod(0o755)
    if runner_target != model.target and runner.weights is not None:
        shutil.copyfile(runner.weights, directory / "runner-weights.bin")
    return directory

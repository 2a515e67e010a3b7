// pocketbert.h from C++: opens the model, runs it, and says what a wrong number leads to.
#include "pocketbert.h"
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

int main(int count, char **words) {
  char error[512];
  pb_model *model = pb_open("model", count > 1 ? words[1] : "weights.bin", 1, 0, error, sizeof error);
  if (model == nullptr) {
    std::fprintf(stderr, "%s\n", error);
    return 1;
  }
  const pb_program *program = pb_program_of(model);
  std::vector<std::vector<std::int64_t>> ids;
  std::vector<std::vector<float>> results;
  std::vector<const std::int64_t *> inputs;
  std::vector<float *> outputs;
  for (int i = 0; i < program->input_count; i++)
    ids.emplace_back(program->inputs[i].rows, 0);
  for (int i = 0; i < program->output_count; i++)
    results.emplace_back(static_cast<std::size_t>(program->outputs[i].rows) * program->outputs[i].columns);
  for (auto &one : ids) inputs.push_back(one.data());
  for (auto &one : results) outputs.push_back(one.data());
  const int good = pb_run(model, inputs.data(), outputs.data());
  ids[0][0] = -1;
  const int bad = pb_run(model, inputs.data(), outputs.data());
  pb_stop(model);
  const int stopped = pb_run(model, inputs.data(), outputs.data());
  pb_close(model);
  std::printf("%d %d %d\n", good, bad, stopped == PB_STOPPED);
  return 0;
}

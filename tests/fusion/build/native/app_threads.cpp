// An app's library from C++17: eight threads open the model at once, by path, descriptor and memory in turn, run it,
// and close it, three times each; all must give the same numbers, and leave no descriptor open.
//
//   app_threads WEIGHTS [THREADS]
#include "app.h"
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

std::string path;
std::vector<char> content;
std::vector<float> expected;
std::atomic<int> failures{0};

pb_source source_of(int kind) {
  pb_source source{};
  source.kind = kind;
  source.path = path.c_str();
  source.descriptor = kind == PB_FROM_DESCRIPTOR ? ::open(path.c_str(), O_RDONLY) : -1;
  source.memory = content.data();
  source.length = static_cast<std::int64_t>(content.size());
  return source;
}

// All outputs of a run, one after the other; none where something failed.
std::vector<float> run_once(int kind, bool print) {
  char error[512] = "";
  const pb_source source = source_of(kind);
  pb_model *model = pb_open_from("model", &source, 2, nullptr, error, sizeof error);
  if (source.descriptor >= 0) ::close(source.descriptor);
  if (model == nullptr) {
    complain(error);
    return {};
  }
  const pb_program *program = pb_program_of(model);
  const arrays made = make_arrays(program);
  std::vector<float> outputs;
  if (pb_run(model, const_cast<const std::int64_t *const *>(made.inputs), made.outputs) == 0)
    for (int i = 0; i < program->output_count; i++)
      outputs.insert(outputs.end(), made.outputs[i], made.outputs[i] + numbers_of(&program->outputs[i]));
  if (print) print_outputs(program, made);
  free_arrays(program, made);
  pb_close(model);
  return outputs;
}

void open_run_close(int first) {
  for (int kind = 0; kind < 3; kind++)
    if (run_once(PB_FROM_PATH + (first + kind) % 3, false) != expected) failures++;
}

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator found("/proc/self/fd");
  return std::distance(begin(found), end(found));
}

}  // namespace

int main(int count, char **words) {
  path = words[1];
  std::ifstream file(path, std::ios::binary);
  content.assign(std::istreambuf_iterator<char>(file), {});
  const std::ptrdiff_t before = open_descriptors();
  expected = run_once(PB_FROM_PATH, true);
  std::vector<std::thread> threads;
  for (int i = 0; i < (count > 2 ? std::atoi(words[2]) : 8); i++) threads.emplace_back(open_run_close, i);
  for (auto &thread : threads) thread.join();
  if (expected.empty() || failures != 0 || open_descriptors() != before) return complain("threads differ");
  return pb_api_version() == PB_API_VERSION ? 0 : complain("another API");
}

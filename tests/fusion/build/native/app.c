/* An app without Java: loads its library as Android would, by what stands in for its loader, and runs the model twice,
   its weights lying somewhere in an archive.

   app LIBRARY ARCHIVE OFFSET BYTES THREADS */
#include "bionic_loader.h"

#include "app.h"

static struct {
  __typeof__(pb_api_version) *api_version;
  __typeof__(pb_open_from) *open_from;
  __typeof__(pb_verify) *verify;
  __typeof__(pb_program_of) *program_of;
  __typeof__(pb_run) *run;
  __typeof__(pb_close) *close;
} library;

static int look_up(void *handle) {
#define LOOK_UP(function) \
  *(void **)&library.function = find(handle, "pb_" #function); \
  if (!library.function) return complain("the library lacks pb_" #function);
  LOOK_UP(api_version)
  LOOK_UP(open_from)
  LOOK_UP(verify)
  LOOK_UP(program_of)
  LOOK_UP(run)
  LOOK_UP(close)
  return 0;
}

static int use(const pb_source *weights, int threads) {
  char error[512];
  pb_model *model = library.open_from("model", weights, threads, NULL, error, sizeof error);
  if (!model || library.verify("model", weights, error, sizeof error)) return complain(error);
  const pb_program *program = library.program_of(model);
  arrays made = make_arrays(program);
  int failed = 0;
  for (int run = 0; !failed && run < 2; run++)
    failed = library.run(model, (const int64_t *const *)made.inputs, made.outputs);
  if (!failed) print_outputs(program, made);
  free_arrays(program, made);
  library.close(model);
  return failed;
}

int main(int count, char **words) {
  if (count != 6) return complain("five words");
  void *handle = load(words[1], RTLD_NOW);
  if (!handle) return complain(tell());
  if (look_up(handle)) return 1;
  if (library.api_version() != PB_API_VERSION) return complain("another API");
  pb_source weights = {0};
  weights.kind = PB_FROM_DESCRIPTOR;
  weights.descriptor = open(words[2], O_RDONLY);
  weights.offset = atoll(words[3]);
  weights.length = atoll(words[4]);
  const int failed = use(&weights, atoi(words[5]));
  close(weights.descriptor);
  return failed;
}

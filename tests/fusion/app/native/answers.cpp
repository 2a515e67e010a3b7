// answers WEIGHTS TOKENIZER TEXTS THREADS TIMES: every thread asks for every line (text, or text TAB pair) so often, and
// all must get the same; prints the labels and an answer a line, as Main.java does.
#include "pocketbert_app.h"
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

std::string classified(pb_text_model *model, const std::string &text, const std::string *pair) {
  char error[512];
  int removed = 0;
  std::vector<pb_label> labels(static_cast<std::size_t>(pb_answer_size(model)));
  const int count = pb_classify(model, text.data(), text.size(), pair ? pair->data() : nullptr, pair ? pair->size() : 0,
                                labels.data(), pb_answer_size(model), &removed, error, sizeof error);
  if (count < 0) return std::string("refused: ") + error;
  std::ostringstream line;
  line << removed;
  for (const pb_label &label : labels) line << ' ' << label.index << ' ' << label.score;
  return line.str();
}

std::string found(pb_text_model *model, const std::string &text) {
  char error[512];
  int removed = 0;
  std::vector<pb_entity> entities(static_cast<std::size_t>(pb_answer_size(model)));
  const int count = pb_find_entities(model, text.data(), text.size(), entities.data(), pb_answer_size(model), &removed,
                                     error, sizeof error);
  if (count < 0) return std::string("refused: ") + error;
  std::ostringstream line;
  line << removed;
  for (int i = 0; i < count; i++)
    line << ' ' << entities[i].label << ' ' << entities[i].score << ' ' << entities[i].start << ' ' << entities[i].end;
  return line.str();
}

std::string embedded(pb_text_model *model, const std::string &text, const std::string *pair) {
  char error[512];
  int removed = 0;
  std::vector<float> vector(static_cast<std::size_t>(pb_answer_size(model)));
  if (pb_embed(model, text.data(), text.size(), pair ? pair->data() : nullptr, pair ? pair->size() : 0, vector.data(),
               pb_answer_size(model), &removed, error, sizeof error))
    return std::string("refused: ") + error;
  std::ostringstream line;
  line << removed;
  for (const float number : vector) line << ' ' << number;
  return line.str();
}

std::string answer(pb_text_model *model, const std::string &line) {
  const std::size_t tab = line.find('\t');
  const std::string text = line.substr(0, tab), second = tab == std::string::npos ? "" : line.substr(tab + 1);
  const std::string *pair = tab == std::string::npos ? nullptr : &second;
  switch (pb_answer_kind(model)) {
    case PB_CLASSIFIES: return classified(model, text, pair);
    case PB_FINDS_ENTITIES: return found(model, text);
    default: return embedded(model, text, pair);
  }
}

std::vector<std::string> answers(pb_text_model *model, const std::vector<std::string> &lines) {
  std::vector<std::string> all;
  for (const std::string &line : lines) all.push_back(answer(model, line));
  return all;
}

}  // namespace

int main(int, char **words) {
  char error[512];
  pb_source weights{}, tokenizer{};
  weights.kind = tokenizer.kind = PB_FROM_PATH;
  weights.path = words[1];
  tokenizer.path = words[2];
  pb_text_model *model = pb_text_open(&weights, &tokenizer, 2, nullptr, error, sizeof error);
  if (!model) return std::printf("cannot open: %s\n", error), 0;
  std::vector<std::string> lines;
  std::ifstream file(words[3], std::ios::binary);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  const std::vector<std::string> expected = answers(model, lines);
  std::vector<std::thread> threads;
  std::vector<char> equal(static_cast<std::size_t>(std::atoi(words[4])), 1);
  for (std::size_t i = 0; i < equal.size(); i++)
    threads.emplace_back([&, i] {
      for (int time = 0; time < std::atoi(words[5]); time++)
        if (answers(model, lines) != expected) equal[i] = 0;
    });
  for (std::thread &thread : threads) thread.join();
  for (const char each : equal)
    if (!each) return std::fprintf(stderr, "threads differ\n"), 1;
  for (int i = 0; pb_label_name(model, i); i++) std::cout << "label " << pb_label_name(model, i) << '\n';
  for (const std::string &line : expected) std::cout << line << '\n';
  pb_text_close(model);
  return 0;
}

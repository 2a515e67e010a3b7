// Answers a text, or two, in C++. In this folder:
//
//   c++ -std=c++17 answer.cpp model.so -lpthread -lm -Wl,-rpath,'$ORIGIN' -o answer && ./answer "a text"
//
// It is run from the folder of weights.bin and tokenizer.bin.
#include "pocketbert_app.h"
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int threads = 2;

class TextModel {
 public:
  TextModel(const std::string &weights, const std::string &tokenizer) {
    const pb_source first = file(weights), second = file(tokenizer);
    model_.reset(pb_text_open(&first, &second, threads, nullptr, error_, sizeof error_));
    if (!model_) throw std::runtime_error(error_);
  }

  int kind() const { return pb_answer_kind(model_.get()); }

  // All labels, the best first.
  std::vector<pb_label> classify(const std::string &text, const std::optional<std::string> &pair) {
    std::vector<pb_label> labels(size());
    const int count = pb_classify(model_.get(), text.data(), text.size(), start(pair), length(pair), labels.data(),
                                  static_cast<int>(labels.size()), &removed, error_, sizeof error_);
    return told(labels, count);
  }

  std::vector<pb_entity> find_entities(const std::string &text) {
    std::vector<pb_entity> entities(size());
    const int count = pb_find_entities(model_.get(), text.data(), text.size(), entities.data(),
                                       static_cast<int>(entities.size()), &removed, error_, sizeof error_);
    return told(entities, count);
  }

  std::vector<float> embed(const std::string &text, const std::optional<std::string> &pair) {
    std::vector<float> vector(size());
    const int failed = pb_embed(model_.get(), text.data(), text.size(), start(pair), length(pair), vector.data(),
                                static_cast<int>(vector.size()), &removed, error_, sizeof error_);
    return told(vector, failed ? failed : static_cast<int>(vector.size()));
  }

  int removed = 0;  // tokens of the last text that were cut off, because the model takes no more

 private:
  struct Close {
    void operator()(pb_text_model *model) const { pb_text_close(model); }
  };

  static pb_source file(const std::string &path) {
    pb_source source{};
    source.kind = PB_FROM_PATH;
    source.path = path.c_str();
    return source;
  }

  static const char *start(const std::optional<std::string> &pair) { return pair ? pair->data() : nullptr; }
  static std::size_t length(const std::optional<std::string> &pair) { return pair ? pair->size() : 0; }

  std::size_t size() const { return static_cast<std::size_t>(pb_answer_size(model_.get())); }

  template <typename Values>
  Values told(Values &values, int count) const {
    if (count < 0) throw std::runtime_error(error_);
    values.resize(static_cast<std::size_t>(count));
    return values;
  }

  std::unique_ptr<pb_text_model, Close> model_;
  char error_[512] = "";
};

void tell(TextModel &model, const std::string &text, const std::optional<std::string> &pair) {
  if (model.kind() == PB_CLASSIFIES)
    for (const pb_label &label : model.classify(text, pair)) std::cout << label.name << ' ' << label.score << '\n';
  else if (pair && model.kind() == PB_FINDS_ENTITIES)
    throw std::runtime_error("the model finds entities in one text");
  else if (model.kind() == PB_FINDS_ENTITIES)
    for (const pb_entity &entity : model.find_entities(text))
      std::cout << entity.name << ' ' << entity.score << ", characters " << entity.start << " to " << entity.end << '\n';
  else
    for (const float number : model.embed(text, pair)) std::cout << number << '\n';
  if (model.removed) std::cerr << model.removed << " tokens were cut off: the model takes no more\n";
}

}  // namespace

int main(int count, char **words) {
  if (count < 2 || count > 3) return std::cerr << "usage: " << words[0] << " TEXT [PAIR]\n", 2;
  try {
    TextModel model("weights.bin", "tokenizer.bin");
    tell(model, words[1], count > 2 ? std::optional<std::string>(words[2]) : std::nullopt);
  } catch (const std::runtime_error &problem) {
    return std::cerr << "error: " << problem.what() << '\n', 1;
  }
}

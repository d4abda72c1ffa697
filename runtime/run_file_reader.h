// The parts of the run file's reader.  Included by runtime/run_file*.cc only.
#pragma once

#include <string>
#include <string_view>

#include "base/yaml.h"
#include "runtime/run_file.h"

namespace gossamer::run_file_detail {

// Where relative paths lead.
struct Paths {
  std::string file_folder;  // of the run file
  std::string data_folder;  // GOSSAMER_DATA, or empty
  bool check = false;       // files must exist

  // Of a path that the file, a variable or a flag holds; absolute.
  std::string resolve(const YamlValue& value) const;
};

// `name` of every word of an enum, in the order of its values.
template <class E, std::size_t N>
E choose(const YamlMap& map, std::string_view key, const E (&values)[N], E fallback) {
  const YamlValue value = map.find(key);
  if (!value.present()) return fallback;
  std::vector<std::string_view> words;
  for (const E each : values) words.push_back(name(each));
  const std::size_t index = value.choice(words);
  return index < N ? values[index] : fallback;
}

void read_trainer(const YamlMap& map, const Paths& paths, TrainerOptions* trainer);

}  // namespace gossamer::run_file_detail

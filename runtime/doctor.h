// `gossamer doctor`: what this build and this machine have for a run, what is missing, and how to get it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gossamer {

struct Finding {
  enum class State {
    found,
    missing,  // a run can do without it, but not use what it is for
    problem,  // a run will fail or be slow
  };
  std::string name;
  State state = State::found;
  std::string detail;              // version or value
  std::vector<std::string> items;  // transports, devices, interfaces
  std::string remedy;              // empty where nothing is to be done
};

struct Diagnosis {
  std::string version;
  std::vector<Finding> findings;
  bool ready = false;  // peers on this machine can reach each other with what was found
};

// Looks; loads the libraries it looks for into this process, and starts nothing.
Diagnosis diagnose();

std::string to_text(const Diagnosis& diagnosis);
std::string to_json(const Diagnosis& diagnosis);  // ends with a newline

std::string_view gossamer_version();

}  // namespace gossamer

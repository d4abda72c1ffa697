// What peers tell whoever gathers the results (rank 0, or in an elastic run its successor) over the control plane: topics, and how the bytes are made.
//
// Parsers treat their input as coming from outside.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/records.h"

namespace gossamer::messages {

inline constexpr std::string_view kRecord = "record";        // an interval of a peer
inline constexpr std::string_view kSummary = "summary";      // a peer's last words
inline constexpr std::string_view kModel = "model";          // its final model, float32
inline constexpr std::string_view kStartHash = "start-hash"; // XXH3-64 of the model everybody starts from
inline constexpr std::string_view kStartReply = "start-reply";  // "same" or "send"
inline constexpr std::string_view kStart = "start-model";    // it; empty for who has the same.  All begin when they hear it
inline constexpr std::string_view kTrained = "trained";      // after the last step
inline constexpr std::string_view kAllTrained = "all-trained";  // from whoever gathers: everybody has said so
inline constexpr std::string_view kGathers = "gathers";      // elastic: who sends it gathers the results
inline constexpr std::string_view kOver = "over";            // elastic: the results are written
inline constexpr std::string_view kAbort = "abort";          // a peer gives up; the text says why

struct Record {
  IntervalRecord record;
  std::vector<double> sketch;  // count-sketch of the model at record.step; for the consensus distance
};

std::string pack(const Record& record);
Result<Record> unpack_record(std::string_view bytes);

std::string pack(const PeerSummary& summary);
Result<PeerSummary> unpack_summary(std::string_view bytes);

std::string pack(std::span<const float> model);
Result<> unpack_model(std::string_view bytes, std::span<float> model);

}  // namespace gossamer::messages

#include "runtime/report/table.h"

#include <gtest/gtest.h>

namespace gossamer {
namespace {

TEST(Table, AlignsItsColumns) {
  RunSummary dense, sparse;
  dense.mean_model_accuracy = 0.9731;
  dense.mean_model_loss = 0.0876;
  dense.bytes_sent_per_peer = dense.all_reduce_bytes_per_peer = 3.0625e9;
  dense.wall_s = 44;
  sparse.all_reduce_bytes_per_peer = 3.0625e9;
  sparse.bytes_sent_per_peer = 70.4e6;
  sparse.wall_s = 125;
  EXPECT_EQ(comparison_text({{"all-reduce", dense}, {"größer\n", sparse}}),
            "run         accuracy    loss  bytes per peer  vs all-reduce   wall time\n"
            "----------  --------  ------  --------------  -------------  ----------\n"
            "all-reduce   97.31 %  0.0876         3.06 GB       100.00 %      44.0 s\n"
            "größer?            -       -         70.4 MB         2.30 %  2 min 05 s\n");
}

TEST(Table, OfNothingIsItsHead) {
  EXPECT_EQ(text_table({"a", "bb"}, {}), "a  bb\n-  --\n");
}

}  // namespace
}  // namespace gossamer

// What `gossamer bench exchange` compares with, by MPI alone: an all-reduce of the model, and a ring as one would write it by
// hand (non-blocking to and from both neighbours, then the average in place).
//
//   mpirun -np PEERS exchange_mpi PEERS PARAMETERS WARMUP ROUNDS
//
// Says seconds of a round, of the slowest process.
#include <mpi.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

template <class Round>
double seconds_of(int warm_up, int rounds, const Round& round) {
  for (int i = 0; i < warm_up; ++i) round();
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  for (int i = 0; i < rounds; ++i) round();
  const double mine = (MPI_Wtime() - start) / rounds;
  double longest = 0;
  MPI_Allreduce(&mine, &longest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return longest;
}

// model = (model + left + right) / 3
void average(float* __restrict model, const float* __restrict left, const float* __restrict right, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) model[i] = (model[i] + left[i] + right[i]) * (1.0f / 3.0f);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, peers = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &peers);
  if (argc != 5 || peers != std::atoi(argv[1])) {
    std::fprintf(stderr, "mpirun -np PEERS exchange_mpi PEERS PARAMETERS WARMUP ROUNDS\n");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  const auto count = static_cast<std::size_t>(std::atoll(argv[2]));
  const int warm_up = std::atoi(argv[3]), rounds = std::atoi(argv[4]), size = static_cast<int>(count);
  // Small enough that sums of sums stay numbers.
  std::vector<float> model(count, 1e-30f * static_cast<float>(rank + 1)), left(count), right(count);

  const double reduced = seconds_of(warm_up, rounds, [&] { MPI_Allreduce(MPI_IN_PLACE, model.data(), size, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });

  const int before = (rank + peers - 1) % peers, after = (rank + 1) % peers;
  const double ring = seconds_of(warm_up, rounds, [&] {
    MPI_Request requests[4];
    MPI_Irecv(left.data(), size, MPI_FLOAT, before, 0, MPI_COMM_WORLD, &requests[0]);
    MPI_Irecv(right.data(), size, MPI_FLOAT, after, 1, MPI_COMM_WORLD, &requests[1]);
    MPI_Isend(model.data(), size, MPI_FLOAT, after, 0, MPI_COMM_WORLD, &requests[2]);
    MPI_Isend(model.data(), size, MPI_FLOAT, before, 1, MPI_COMM_WORLD, &requests[3]);
    MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
    average(model.data(), left.data(), right.data(), count);
  });
  if (rank == 0) std::printf("Open MPI all-reduce: %.9f\nOpen MPI ring: %.9f\n", reduced, ring);
  MPI_Finalize();
  return 0;
}

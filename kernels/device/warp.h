// What the device kernels are written for: a warp, 32 lanes in step.
//
// A kernel is a struct with its arguments, warps() and operator()(Warp&, index), the work of one warp of them.  It says what
// each lane does between two exchanges, and a Warp runs that: on a GPU (kernels/cuda/warp.cuh) as the lane's own code, with
// a register for each PerLane; on the host, for tests without a GPU, as loops over 32 lanes and their values.  So what the
// tests prove on the host of a kernel's arithmetic and of its every address holds on the device, as far as the two Warps agree.
//
//   PerLane<T> v               a T for each lane: v[lane]
//   each(f)                    f(lane) for each lane; what lanes wrote before is seen by all afterwards
//   once(f)                    f(), by one lane
//   max(f)                     the largest of f(lane), std::uint32_t
//   sum(f)                     f(0) + ... + f(31), folded as kernels/reduce.h folds lanes: by 16, 8, 4, 2, 1
//   ballot(f)                  bit `lane` is f(lane)
//   exchange(v, mask)          v[lane ^ mask] for each lane
//   pick(v, lane)             v[lane]
//   before(f, &total)          for each lane the sum of f of the lower ones, std::uint32_t; and that of all
//   add(p, n), raise(p, n)     *p += n, *p = max(*p, n) by any lane of any warp at any time; add() returns the old value
//   set_bits(p, bits)          *p |= bits, likewise
//
// Results of max, sum and ballot are those of every lane.  All lanes call them together.
#pragma once

namespace gossamer::device {

inline constexpr unsigned kLanes = 32;

}  // namespace gossamer::device

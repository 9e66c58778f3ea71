// What a collective is expected to take: how many rounds of messages, messages, bytes and sums an algorithm has on the
// busiest rank, times what each of them costs.
//
// After R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH", IJHPCA
// 19(1), 2005, with a term of its own for the messages that one rank handles, since pieces and lanes have many at a
// time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace mfugaku::comm::schedule {

class Choice;
struct Case;

// Seconds that each of these takes. A call costs the same whatever carries it. `mpi_` is for MPI's own collectives,
// whose rounds, sums and copies are not to be seen from here.
struct Costs {
  double call_s, round_s, message_s, byte_s, summed_byte_s, mpi_round_s, mpi_byte_s, mpi_summed_byte_s;

  static constexpr size_t kNumber = 8;
  static constexpr std::array<const char*, kNumber> kNames = {"call", "round", "message", "byte", "summed_byte",
                                                              "mpi_round", "mpi_byte", "mpi_summed_byte"};
  std::array<double, kNumber> values() const {
    return {call_s, round_s, message_s, byte_s, summed_byte_s, mpi_round_s, mpi_byte_s, mpi_summed_byte_s};
  }
  // Throws std::invalid_argument unless all are finite, none negative and bytes not free.
  static Costs of(const std::vector<double>& values);
  // Between two processes of one x86 server over Open MPI 4.1, as `mfugaku comm tune` measured them; those of a network
  // are for it to measure.
  static constexpr Costs built_in() {
    return {21e-6, 9.3e-6, 2.7e-6, 0.33e-9, 0.12e-9, 12.7e-6, 0.32e-9, 0.72e-9};
  }
  // For groups that are known to stand on a torus, until others are measured: links of 6.8 GB/s and puts of 0.49 us as
  // of Tofu interconnect D (Y. Ajima et al., CLUSTER 2018), half a microsecond of CPU a message, sums at the 20 GB/s of
  // one core; MPI's own with one link at a time.
  static constexpr Costs of_torus() {
    return {5e-6, 1e-6, 0.5e-6, 0.147e-9, 0.05e-9, 2e-6, 0.147e-9, 0.05e-9};
  }
};

// How many of each a rank has, in the order of Costs: alike on all ranks, so that all choose alike.
std::array<double, Costs::kNumber> terms_of(const Choice& choice, const Case& wanted);

double expected_s(const Choice& choice, const Case& wanted, const Costs& costs);

}  // namespace mfugaku::comm::schedule

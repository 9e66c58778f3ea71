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

// Seconds that each of these takes. `mpi_` is for MPI's own collectives, whose rounds, sums and copies are not to be
// seen from here.
struct Costs {
  double round_s, message_s, byte_s, summed_byte_s, mpi_round_s, mpi_byte_s;

  static constexpr std::array<const char*, 6> kNames = {"round", "message", "byte", "summed_byte", "mpi_round",
                                                        "mpi_byte"};
  std::array<double, 6> values() const {
    return {round_s, message_s, byte_s, summed_byte_s, mpi_round_s, mpi_byte_s};
  }
  // Throws std::invalid_argument unless all are finite, none negative and bytes not free.
  static Costs of(const std::vector<double>& values);
  // Fits between two processes of one x86 server that share no memory, by `mfugaku comm tune`; those of a network are
  // for the same to measure.
  static Costs built_in() { return {2.6e-6, 0.7e-6, 0.16e-9, 0.06e-9, 2.6e-6, 0.4e-9}; }
};

// How many of each a rank has, in the order of Costs: alike on all ranks, so that all choose alike.
std::array<double, 6> terms_of(const Choice& choice, const Case& wanted);

double expected_s(const Choice& choice, const Case& wanted, const Costs& costs);

}  // namespace mfugaku::comm::schedule

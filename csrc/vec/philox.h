// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) over the names of vec.h: four
// words from a counter of four words, one counter in each lane. Include behind the header of an instruction set.
#pragma once

namespace mfugaku::vec {
namespace {

constexpr int kPhiloxRounds = 10;

MFUGAKU_INLINE void philox_round(U32 key0, U32 key1, U32& w0, U32& w1, U32& w2, U32& w3) {
  U32 high0, low0, high2, low2;
  multiply_wide(w0, 0xd2511f53u, high0, low0);
  multiply_wide(w2, 0xcd9e8d57u, high2, low2);
  // The multiplication comes last: all else is done while it runs.
  w0 = exclusive_or(high2, exclusive_or(w1, key0));
  w2 = exclusive_or(high0, exclusive_or(w3, key1));
  w1 = low2;
  w3 = low0;
}

// The keys of all rounds.
struct PhiloxKeys {
  uint32_t low[kPhiloxRounds], high[kPhiloxRounds];
  MFUGAKU_INLINE explicit PhiloxKeys(uint64_t seed) {
    low[0] = static_cast<uint32_t>(seed);
    high[0] = static_cast<uint32_t>(seed >> 32);
    for (int round = 1; round < kPhiloxRounds; ++round) {
      low[round] = low[round - 1] + 0x9e3779b9u;
      high[round] = high[round - 1] + 0xbb67ae85u;
    }
  }
};

}  // namespace
}  // namespace mfugaku::vec

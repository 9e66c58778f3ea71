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

// The first three rounds of counters that differ in their lowest word only: what the other words become in them is computed
// once, for all lanes. 21 of 30 operations are left.
struct PhiloxStart {
  uint32_t first_round, second_round[2], third_round;  // what is left to be combined with the lanes
  MFUGAKU_INLINE PhiloxStart(const PhiloxKeys& keys, uint32_t w1, uint32_t w2, uint32_t w3) {
    const uint64_t second = uint64_t{0xcd9e8d57u} * w2;
    const uint64_t first = uint64_t{0xd2511f53u} * (static_cast<uint32_t>(second >> 32) ^ w1 ^ keys.low[0]);
    first_round = w3 ^ keys.high[0];
    second_round[0] = static_cast<uint32_t>(second) ^ keys.low[1];
    second_round[1] = static_cast<uint32_t>(first >> 32) ^ keys.high[1];
    third_round = static_cast<uint32_t>(first) ^ keys.high[2];
  }
};
constexpr int kPhiloxStartRounds = 3;
MFUGAKU_INLINE void philox_start(const PhiloxStart& start, const PhiloxKeys& keys, U32& w0, U32& w1, U32& w2, U32& w3) {
  U32 high, low;
  multiply_wide(w0, 0xd2511f53u, high, low);
  const U32 third = low;
  multiply_wide(exclusive_or(high, broadcast(start.first_round)), 0xcd9e8d57u, high, low);
  const U32 second = low;
  multiply_wide(exclusive_or(high, broadcast(start.second_round[0])), 0xd2511f53u, high, w3);
  w2 = exclusive_or(high, broadcast(start.third_round));
  multiply_wide(exclusive_or(third, broadcast(start.second_round[1])), 0xcd9e8d57u, high, w1);
  w0 = exclusive_or(high, exclusive_or(second, broadcast(keys.low[2])));
}

}  // namespace
}  // namespace mfugaku::vec

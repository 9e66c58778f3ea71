// Point-to-point messages, what is refused, and what a group says after it was destroyed.
#include <cstring>

#include "comm/shared/arena.h"
#include "job.h"

namespace mfugaku::tests {
namespace {

using comm::CommFailure;
using comm::Engine;
using comm::OperationPtr;

char letter(int rank, int64_t i, int64_t salt) { return static_cast<char>(rank * 31 + i + salt); }

std::shared_ptr<char> make_letters(int rank, int64_t num_bytes, int64_t salt) {
  auto data = allocate(num_bytes, false);
  for (int64_t i = 0; i < num_bytes; ++i) data.get()[i] = letter(rank, i, salt);
  return data;
}

void expect_letters(const char* data, int rank, int64_t num_bytes, int64_t salt) {
  for (int64_t i = 0; i < num_bytes; ++i)
    require(data[i] == letter(rank, i, salt), "byte " + std::to_string(i) + " of a message of " +
                                                  std::to_string(num_bytes) + " bytes is wrong");
}

}  // namespace

// Around a ring, of all sizes up to several parts; one in three from any rank.
void check_messages(const Options& options) {
  auto group = make_group(all_ranks(), options);
  const int rank = group->rank(), size = group->size(), right = (rank + 1) % size, left = (rank + size - 1) % size;
  const int64_t whole = Engine::instance().max_count();
  Random common(options.seed);
  for (const int64_t limit : {whole, int64_t{100}}) {
    Engine::instance().set_max_count(limit);
    for (int64_t round = 0; round < options.num_rounds; ++round) {
      const int64_t num_bytes = common.choose(std::vector<int64_t>{0, 1, 99, 100, 101, 1000, 70'000});
      const int tag = static_cast<int>(common.below(5));
      const bool is_from_any = size == 2 && common.below(3) == 0;
      auto out = make_letters(rank, num_bytes, round), in = allocate(num_bytes, false);
      const OperationPtr received = is_from_any ? comm::receive_any(*group, in.get(), num_bytes, tag, {})
                                                : comm::receive(*group, in.get(), num_bytes, left, tag, {});
      const OperationPtr sent = comm::send(*group, out.get(), num_bytes, right, tag, {});
      if (round % 2 == 0)
        Engine::instance().wait({sent, received});
      else
        Engine::instance().wait({received, sent});
      expect_letters(in.get(), left, num_bytes, round);
      require(received->source == left, "the message came from another rank");
    }
  }
  Engine::instance().set_max_count(whole);
  Engine::instance().wait({comm::barrier(*group, {})});
  group->shut_down();
}

// Errors of one rank's own making are told at once and harm nobody; a wait that is in vain ends in time.
void check_misuse(const Options& options) {
  auto group = make_group(all_ranks(), options);
  const int rank = group->rank(), size = group->size(), right = (rank + 1) % size, left = (rank + size - 1) % size;
  auto data = make_letters(rank, 64, 0);
  require_error<std::invalid_argument>([&] { comm::send(*group, data.get(), 8, size, 0, {}); }, "is not in group");
  require_error<std::invalid_argument>([&] { comm::send(*group, data.get(), 8, right, -1, {}); }, "tag -1");
  require_error<std::invalid_argument>(
      [&] { comm::all_reduce(*group, data.get(), 8, comm::DataType::Float32, comm::Reduction::BitAnd, {}); },
      "is not defined");

  comm::Call in_a_hurry;
  in_a_hurry.timeout_s = 0.05;
  auto in = allocate(64, false);
  // The memory of an abandoned receive stays MPI's: the late message arrives there, and nowhere else.
  in_a_hurry.keep = {in};
  const OperationPtr late = comm::receive(*group, in.get(), 64, left, 3, in_a_hurry);
  require_error<CommFailure>([&] { Engine::instance().wait({late}); }, "did not finish within the timeout of 0.05 s");
  Engine::instance().wait({comm::barrier(*group, {})});
  const OperationPtr sent = comm::send(*group, data.get(), 64, right, 3, {});
  Engine::instance().wait({sent, late}, options.timeout_s);
  expect_letters(in.get(), left, 64, 0);

  // A message of another length is an error of the receiver, and of nobody else.
  const OperationPtr too_short = comm::send(*group, data.get(), 32, right, 4, {});
  const OperationPtr received = comm::receive(*group, in.get(), 64, left, 4, {});
  Engine::instance().wait({too_short});
  require_error<CommFailure>([&] { Engine::instance().wait({received}); }, "32 bytes arrived where 64");

  Engine::instance().wait({comm::barrier(*group, {})});
  group->shut_down();
  require_error<CommFailure>([&] { comm::barrier(*group, {}); }, "which has been destroyed");
  require_error<CommFailure>([&] { comm::send(*group, data.get(), 8, right, 0, {}); }, "which has been destroyed");
  group->shut_down();  // once more does no harm
}

// Blocks never overlap and keep what was written to them, whatever is given back between.
void check_arena(const Options& options) {
  comm::Arena& arena = comm::Arena::instance();
  require(arena.refusal().empty(), arena.refusal());
  struct Block {
    char* data;
    int64_t num_bytes;
    char mark;
  };
  std::vector<Block> blocks;
  Random random(options.seed);
  for (int64_t round = 0; round < 20 * options.num_rounds; ++round) {
    if (blocks.empty() || random.below(2) == 0) {
      const int64_t num_bytes = random.choose(std::vector<int64_t>{0, 1, 4095, 4096, 4097, 100'000, 3'000'000});
      blocks.push_back({static_cast<char*>(arena.allocate(num_bytes)), num_bytes, static_cast<char>(round)});
      Block& block = blocks.back();
      require(arena.offset_of(block.data, block.num_bytes) >= 0, "a block lies outside the arena");
      if (num_bytes > 0) block.data[0] = block.data[num_bytes - 1] = block.mark;
    } else {
      std::swap(blocks[static_cast<size_t>(random.below(static_cast<int64_t>(blocks.size())))], blocks.back());
      const Block block = blocks.back();
      if (block.num_bytes > 0)
        require(block.data[0] == block.mark && block.data[block.num_bytes - 1] == block.mark, "a block was written to");
      arena.release(block.data);
      blocks.pop_back();
    }
  }
  const char outside = 0;
  require(arena.offset_of(&outside, 1) == -1, "memory elsewhere is not in the arena");
  for (const Block& block : blocks) arena.release(block.data);
}

}  // namespace mfugaku::tests

#include "job.h"

#include "comm/shared/arena.h"
#include "values.h"

namespace mfugaku::tests {
namespace {

using comm::Group;

struct Setting {
  std::shared_ptr<Group> group;
  DataType type;
  Reduction reduction;
  int64_t salt, count;
  bool is_in_arena, is_in_place;
  int root;
  std::vector<int64_t> counts;  // by rank: uneven pieces

  int rank() const { return group->rank(); }
  int size() const { return group->size(); }
  int64_t element_bytes() const { return comm::size_of(type); }
  std::shared_ptr<char> memory(int64_t num_elements) const {
    return allocate(num_elements * element_bytes(), is_in_arena);
  }
};

// Elements `begin` ... of a rank's contribution.
void fill(const Setting& setting, char* data, int rank, int64_t begin, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    write(setting.type, data, i, contribution(setting.type, rank, begin + i, setting.salt));
}

void expect(const Setting& setting, const char* data, int64_t count, const std::function<double(int64_t)>& expected,
            bool is_reduced) {
  for (int64_t i = 0; i < count; ++i) {
    const double found = read(setting.type, data, i);
    std::vector<char> wrapped(static_cast<size_t>(setting.element_bytes()));
    write(setting.type, wrapped.data(), 0, expected(i));
    const double wanted = setting.reduction == Reduction::Average && is_reduced ? expected(i)
                                                                                : read(setting.type, wrapped.data(), 0);
    if (!is_close(setting.type, is_reduced ? setting.reduction : Reduction::Sum, found, wanted))
      throw Failure("element " + std::to_string(i) + " of " + std::to_string(count) + " is " + std::to_string(found) +
                    " instead of " + std::to_string(wanted));
  }
}

void expect_contribution(const Setting& setting, const char* data, int rank, int64_t begin, int64_t count) {
  expect(setting, data, count,
         [&](int64_t i) { return contribution(setting.type, rank, begin + i, setting.salt); }, false);
}

void expect_reduction(const Setting& setting, const char* data, int64_t begin, int64_t count) {
  // A sum of truths is "any", a product "all".
  Reduction reduction = setting.reduction;
  if (setting.type == DataType::Bool && reduction == Reduction::Sum) reduction = Reduction::BitOr;
  if (setting.type == DataType::Bool && reduction == Reduction::Product) reduction = Reduction::BitAnd;
  expect(setting, data, count,
         [&](int64_t i) { return reduced(setting.type, reduction, setting.size(), begin + i, setting.salt); }, true);
}

int64_t begin_of(const Setting& setting, int rank) {
  int64_t begin = 0;
  for (int i = 0; i < rank; ++i) begin += setting.counts[static_cast<size_t>(i)];
  return begin;
}

int64_t own_count(const Setting& setting) { return setting.counts[static_cast<size_t>(setting.rank())]; }
int64_t total_count(const Setting& setting) { return begin_of(setting, setting.size()); }

Job all_reduce(const Setting& s) {
  auto data = s.memory(s.count);
  fill(s, data.get(), s.rank(), 0, s.count);
  return {"all_reduce", [=] { return comm::all_reduce(*s.group, data.get(), s.count, s.type, s.reduction, {}); },
          [=] { expect_reduction(s, data.get(), 0, s.count); }};
}

Job reduce(const Setting& s) {
  auto data = s.memory(s.count);
  fill(s, data.get(), s.rank(), 0, s.count);
  return {"reduce", [=] { return comm::reduce(*s.group, data.get(), s.count, s.type, s.reduction, s.root, {}); },
          [=] { if (s.rank() == s.root) expect_reduction(s, data.get(), 0, s.count); }};
}

// In place: into the own piece of the input, as megatron's optimizer does it.
Job reduce_scatter(const Setting& s) {
  auto input = s.memory(total_count(s)), apart = s.memory(own_count(s));
  fill(s, input.get(), s.rank(), 0, total_count(s));
  std::vector<const void*> pieces;
  for (int r = 0; r < s.size(); ++r) pieces.push_back(input.get() + begin_of(s, r) * s.element_bytes());
  char* out = s.is_in_place ? input.get() + begin_of(s, s.rank()) * s.element_bytes() : apart.get();
  return {"reduce_scatter",
          [=] { return comm::reduce_scatter(*s.group, pieces, s.counts, out, s.type, s.reduction, {}); },
          [=] { (void)input, (void)apart, expect_reduction(s, out, begin_of(s, s.rank()), own_count(s)); }};
}

Job all_gather(const Setting& s) {
  auto whole = s.memory(total_count(s)), apart = s.memory(own_count(s));
  std::vector<void*> outs;
  std::vector<int64_t> num_bytes;
  for (int r = 0; r < s.size(); ++r) {
    outs.push_back(whole.get() + begin_of(s, r) * s.element_bytes());
    num_bytes.push_back(s.counts[static_cast<size_t>(r)] * s.element_bytes());
  }
  char* data = s.is_in_place ? static_cast<char*>(outs[static_cast<size_t>(s.rank())]) : apart.get();
  fill(s, data, s.rank(), 0, own_count(s));
  return {"all_gather", [=] { return comm::all_gather(*s.group, data, outs, num_bytes, {}); }, [=] {
            (void)whole, (void)apart;
            for (int r = 0; r < s.size(); ++r)
              expect_contribution(s, static_cast<char*>(outs[static_cast<size_t>(r)]), r, 0,
                                  s.counts[static_cast<size_t>(r)]);
          }};
}

Job broadcast(const Setting& s) {
  auto data = s.memory(s.count);
  fill(s, data.get(), s.rank(), 0, s.count);
  return {"broadcast",
          [=] { return comm::broadcast(*s.group, data.get(), s.count * s.element_bytes(), s.root, {}); },
          [=] { expect_contribution(s, data.get(), s.root, 0, s.count); }};
}

// Rank r sends rank q as many elements as counts[(r + q) % size]. In place, every rank receives over what it sends.
Job all_to_all(const Setting& s) {
  const auto between = [=](int a, int b) { return s.counts[static_cast<size_t>((a + b) % s.size())]; };
  auto input = s.memory(total_count(s)), apart = s.memory(total_count(s));
  char* output = s.is_in_place ? input.get() : apart.get();
  std::vector<comm::Parcel> parcels;
  int64_t begin = 0;
  for (int r = 0; r < s.size(); ++r) {
    char* const piece = input.get() + begin * s.element_bytes();
    fill(s, piece, s.rank(), r, between(s.rank(), r));
    const int64_t num_bytes = between(s.rank(), r) * s.element_bytes();
    parcels.push_back({piece, num_bytes, output + begin * s.element_bytes(), num_bytes});
    begin += between(s.rank(), r);
  }
  return {"all_to_all", [=] { return comm::all_to_all(*s.group, parcels, {}); }, [=] {
            (void)input, (void)apart;
            for (int r = 0; r < s.size(); ++r)
              expect_contribution(s, static_cast<char*>(parcels[static_cast<size_t>(r)].out), r, s.rank(),
                                  between(r, s.rank()));
          }};
}

Job gather(const Setting& s) {
  auto data = s.memory(own_count(s));
  fill(s, data.get(), s.rank(), 0, own_count(s));
  std::vector<std::shared_ptr<char>> blocks;
  std::vector<void*> outs;
  std::vector<int64_t> num_bytes;
  for (int r = 0; s.rank() == s.root && r < s.size(); ++r) {
    blocks.push_back(s.memory(s.counts[static_cast<size_t>(r)]));
    outs.push_back(blocks.back().get());
    num_bytes.push_back(s.counts[static_cast<size_t>(r)] * s.element_bytes());
  }
  return {"gather",
          [=] {
            return comm::gather(*s.group, data.get(), own_count(s) * s.element_bytes(), outs, num_bytes, s.root, {});
          },
          [=] {
            for (size_t r = 0; r < blocks.size(); ++r)
              expect_contribution(s, blocks[r].get(), static_cast<int>(r), 0, s.counts[r]);
          }};
}

Job scatter(const Setting& s) {
  auto out = s.memory(own_count(s));
  std::vector<std::shared_ptr<char>> blocks;
  std::vector<const void*> pieces;
  std::vector<int64_t> num_bytes;
  for (int r = 0; s.rank() == s.root && r < s.size(); ++r) {
    const int64_t count = s.counts[static_cast<size_t>(r)];
    blocks.push_back(s.memory(count));
    fill(s, blocks.back().get(), s.root, r, count);
    pieces.push_back(blocks.back().get());
    num_bytes.push_back(count * s.element_bytes());
  }
  return {"scatter",
          [=] {
            (void)blocks;
            return comm::scatter(*s.group, pieces, num_bytes, out.get(), own_count(s) * s.element_bytes(), s.root, {});
          },
          [=] { expect_contribution(s, out.get(), s.root, s.rank(), own_count(s)); }};
}

Job barrier(const Setting& s) {
  return {"barrier", [=] { return comm::barrier(*s.group, {}); }, [] {}};
}

}  // namespace

std::shared_ptr<char> allocate(int64_t num_bytes, bool is_in_arena) {
  if (!is_in_arena) return {new char[static_cast<size_t>(num_bytes)], std::default_delete<char[]>()};
  auto* block = static_cast<char*>(comm::Arena::instance().allocate(num_bytes));
  return {block, [](char* memory) { comm::Arena::instance().release(memory); }};
}

Job draw_job(Random& common, Random& own, const std::shared_ptr<Group>& group, int64_t max_count) {
  using Make = Job (*)(const Setting&);
  static const std::vector<Make> kinds = {all_reduce, all_reduce, reduce_scatter, reduce_scatter, all_gather,
                                          all_gather, reduce,     broadcast,      all_to_all,     gather,
                                          scatter,    barrier};
  Setting setting{};
  setting.group = group;
  const Make make = common.choose(kinds);
  do {
    setting.type = kTypes[common.below(std::size(kTypes))];
    setting.reduction = kReductions[common.below(std::size(kReductions))];
    try {
      comm::check_reduction(setting.type, setting.reduction);
      break;
    } catch (const std::invalid_argument&) {
    }
  } while (true);
  setting.salt = common.below(100);
  // Short ones mostly: whatever happens at the borders of slots and messages needs no long vectors.
  const std::vector<int64_t> ends = {2, 10, 300, 5000, max_count};
  const auto draw_count = [&] { return common.below(std::min(max_count, common.choose(ends)) + 1); };
  setting.count = draw_count();
  const bool is_even = common.below(2) == 0;
  for (int r = 0; r < group->size(); ++r) setting.counts.push_back(is_even ? setting.count : draw_count());
  setting.is_in_place = common.below(2) == 0;
  setting.root = static_cast<int>(common.below(group->size()));
  setting.is_in_arena = own.below(3) > 0 && comm::Arena::instance().refusal().empty();
  Job job = make(setting);
  job.description += std::string(" of ") + comm::name_of(setting.type) + ", " + comm::name_of(setting.reduction) +
                     ", in groups of " + std::to_string(group->size());
  return job;
}

}  // namespace mfugaku::tests

// A plugin of QEMU that counts what an aarch64 program executes between two marks (marks.h):
//
//   qemu-aarch64 -cpu a64fx -plugin libcounter.so,out=PATH[,mode=threads] PROGRAM
//
// writes one line of JSON to PATH at the end of every region. Counts are exact, and alike in every run of a program
// that does the same. Without a mode a line has the number of instructions, by class, and all blocks that were
// executed, with their words; it is for regions in which one thread runs. mode=threads counts instructions and
// multiply-adds of every thread, by blocks as they begin, and is for regions at whose ends one thread runs.
#include <cxxabi.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "emulator/instruction_class.h"
#include "emulator/marks.h"
#include "emulator/qemu_plugin.h"

int qemu_plugin_version = 1;

namespace mfugaku::emulator {
namespace {

struct Block {
  std::string symbol;
  uint64_t executions = 0, before = 0;  // of the whole run, and up to the region
};
// A block that QEMU translates again, as it does when its memory for translations is full, goes on with its counts.
using Key = std::pair<uint64_t, std::vector<uint32_t>>;  // address and words

struct alignas(64) Thread {  // written by that thread alone
  uint64_t instructions, fmas;
};
constexpr unsigned kMaxThreads = 4096;

struct Counted {  // what a block adds to its thread
  uint64_t instructions, fmas;
};

struct Counter {
  std::mutex mutex;
  std::map<Key, Block> blocks;  // like the deque, never moves one
  std::deque<Counted> counted;
  std::FILE* out = stderr;
  int num_regions = 0;
  bool by_threads = false;
  std::unique_ptr<Thread[]> threads, threads_before;
};
Counter* counter;

void print_blocks() {
  uint64_t total = 0, classes[kNumClasses] = {};
  for (const auto& [key, block] : counter->blocks) {
    const uint64_t times = block.executions - block.before;
    total += times * key.second.size();
    if (times > 0)
      for (const uint32_t word : key.second) classes[static_cast<int>(classify(word))] += times;
  }
  std::fprintf(counter->out, "{\"region\":%d,\"instructions\":%" PRIu64 ",\"classes\":{", counter->num_regions, total);
  const char* comma = "";
  for (int i = 0; i < kNumClasses; ++i) {
    if (classes[i] == 0) continue;
    std::fprintf(counter->out, "%s\"%s\":%" PRIu64, comma, name_of(static_cast<Class>(i)), classes[i]);
    comma = ",";
  }
  std::fprintf(counter->out, "},\"blocks\":[");
  comma = "";
  for (const auto& [key, block] : counter->blocks) {
    const uint64_t times = block.executions - block.before;
    if (times == 0) continue;
    std::fprintf(counter->out, "%s{\"address\":%" PRIu64 ",\"symbol\":\"%s\",\"executions\":%" PRIu64 ",\"words\":\"",
                 comma, key.first, block.symbol.c_str(), times);
    for (const uint32_t word : key.second) std::fprintf(counter->out, "%08" PRIx32, word);
    std::fprintf(counter->out, "\"}");
    comma = ",";
  }
  std::fprintf(counter->out, "]}\n");
}

void print_threads() {
  std::fprintf(counter->out, "{\"region\":%d,\"threads\":[", counter->num_regions);
  const char* comma = "";
  for (unsigned i = 0; i < kMaxThreads; ++i) {
    const Thread now = counter->threads[i], before = counter->threads_before[i];
    if (now.instructions == before.instructions) continue;
    std::fprintf(counter->out, "%s{\"thread\":%u,\"instructions\":%" PRIu64 ",\"fmas\":%" PRIu64 "}", comma, i,
                 now.instructions - before.instructions, now.fmas - before.fmas);
    comma = ",";
  }
  std::fprintf(counter->out, "]}\n");
}

void on_begin(unsigned, void*) {
  const std::lock_guard<std::mutex> lock(counter->mutex);
  for (auto& [key, block] : counter->blocks) block.before = block.executions;
  if (counter->by_threads)
    std::copy_n(counter->threads.get(), kMaxThreads, counter->threads_before.get());
}

void on_end(unsigned, void*) {
  const std::lock_guard<std::mutex> lock(counter->mutex);
  counter->by_threads ? print_threads() : print_blocks();
  std::fflush(counter->out);
  ++counter->num_regions;
}

void on_block(unsigned thread, void* data) {
  if (thread >= kMaxThreads) {
    std::fprintf(stderr, "libcounter: thread %u is more than the %u that are counted\n", thread, kMaxThreads);
    std::abort();
  }
  const auto* const counted = static_cast<const Counted*>(data);
  counter->threads[thread].instructions += counted->instructions;
  counter->threads[thread].fmas += counted->fmas;
}

// As it stands in a source, fit to stand between quotation marks; empty for null.
std::string readable(const char* symbol) {
  if (symbol == nullptr) return "";
  int status = 0;
  char* const demangled = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string text;
  for (const char* c = demangled == nullptr ? symbol : demangled; *c != '\0'; ++c)
    if (*c >= ' ' && *c != '"' && *c != '\\') text += *c;
  std::free(demangled);
  return text;
}

uint64_t* executions_of(std::vector<uint32_t> words, const qemu_plugin_insn* first) {
  const auto [found, is_new] = counter->blocks.try_emplace(Key{qemu_plugin_insn_vaddr(first), std::move(words)});
  if (is_new) found->second.symbol = readable(qemu_plugin_insn_symbol(first));
  return &found->second.executions;
}

void on_translation(qemu_plugin_id_t, qemu_plugin_tb* block) {
  const size_t length = qemu_plugin_tb_n_insns(block);
  if (length == 0) return;
  std::vector<uint32_t> words(length);
  bool is_marked = false;
  uint64_t num_fmas = 0;
  for (size_t i = 0; i < length; ++i) {
    std::memcpy(&words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof(uint32_t));
    is_marked = is_marked || words[i] == kBegin || words[i] == kEnd;
    num_fmas += is_fma(classify(words[i]));
  }
  qemu_plugin_insn* const first = qemu_plugin_tb_get_insn(block, 0);
  const std::lock_guard<std::mutex> lock(counter->mutex);
  if (counter->by_threads)
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, kPluginUsesNoRegisters,
                                         &counter->counted.emplace_back(Counted{length, num_fmas}));
  else if (!is_marked)
    qemu_plugin_register_vcpu_tb_exec_inline(block, kPluginAdd, executions_of(std::move(words), first), 1);
  if (!is_marked) return;
  // A region begins and ends within its first and last block: their instructions are counted one by one, so that the
  // region has exactly those between the marks.
  for (size_t i = 0; i < length; ++i) {
    qemu_plugin_insn* const instruction = qemu_plugin_tb_get_insn(block, i);
    if (words[i] == kBegin || words[i] == kEnd)
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, words[i] == kBegin ? on_begin : on_end,
                                             kPluginUsesNoRegisters, nullptr);
    else if (!counter->by_threads)
      qemu_plugin_register_vcpu_insn_exec_inline(instruction, kPluginAdd, executions_of({words[i]}, instruction), 1);
  }
}

// False, with a reason, on an option that is none.
bool set_option(const std::string& option) {
  if (option.rfind("out=", 0) == 0) {
    counter->out = std::fopen(option.c_str() + 4, "w");
    if (counter->out != nullptr) return true;
    std::fprintf(stderr, "libcounter: %s cannot be written: %s\n", option.c_str() + 4, std::strerror(errno));
    return false;
  }
  if (option == "mode=threads") return counter->by_threads = true;
  std::fprintf(stderr, "libcounter: %s is not an option; there are out=PATH and mode=threads\n", option.c_str());
  return false;
}

}  // namespace
}  // namespace mfugaku::emulator

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t*, int argc, char** argv) {
  using namespace mfugaku::emulator;
  counter = new Counter;
  for (int i = 0; i < argc; ++i)
    if (!set_option(argv[i])) return 1;
  if (counter->by_threads) {
    counter->threads = std::make_unique<Thread[]>(kMaxThreads);
    counter->threads_before = std::make_unique<Thread[]>(kMaxThreads);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}

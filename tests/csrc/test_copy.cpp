// The copy kernels of every instruction set: every byte, and none outside.
#include <doctest/doctest.h>

#include "kernels/copy/copy.h"
#include "support.h"

using namespace mfugaku::kernels;
using namespace mfugaku::tests;

TEST_CASE("streams copy every byte at any alignment, and touch none outside") {
  for_every_isa<CopyKernels>([&](const std::string& isa, const CopyKernels& kernels) {
    for (int64_t count : sizes()) {
      for (const int64_t longer : {0, 4096})
        for (const int64_t skipped : {0, 1, 63})
          for (const Edge edge : {Edge::AtStart, Edge::AtEnd}) {
            const int64_t length = count + longer;
            Guarded<uint8_t> in(length, edge), out(length, edge);
            Random random(static_cast<uint64_t>(length));
            for (int64_t i = 0; i < length; ++i) in[i] = static_cast<uint8_t>(random.bits()), out[i] = 0;
            const int64_t begin = std::min(skipped, length);
            kernels.stream(in.data(), length - begin, out.data() + begin);  // two alignments
            int64_t wrong = 0;
            for (int64_t i = 0; i < length; ++i) wrong += out[i] != (i < begin ? 0 : in[i - begin]);
            INFO(isa << " " << length << " from " << begin);
            CHECK(wrong == 0);
            CHECK(in.intact());
            CHECK(out.intact());
          }
    }
  });
}

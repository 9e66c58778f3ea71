// Every member has a piece for every other one: all_to_all, gather and scatter within a node.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../ticket.h"
#include "../types.h"
#include "channel.h"

namespace mfugaku::comm::shared {

// `parcels` are by rank; that for this rank itself is left alone. Short pieces pass through a slot together with
// the members' word of their sizes, longer ones are read where they lie or pass through the slots in chunks. A member
// that expects another size than is sent to it makes the collective fail on all. Pieces and outs do not overlap.
std::shared_ptr<Poll> exchange(std::shared_ptr<Channel> channel, const Ticket& ticket, std::vector<Parcel> parcels);

}  // namespace mfugaku::comm::shared

#include "ticket.h"

#include <cstdio>
#include <cstring>

namespace mfugaku::comm {

Ticket make_ticket(const char* name, int64_t num_bytes, int64_t argument, const std::vector<int64_t>& sizes) {
  Ticket ticket;
  std::strncpy(ticket.name, name, sizeof(ticket.name) - 1);
  ticket.num_bytes = num_bytes;
  uint64_t hash = 14695981039346656037ull;  // FNV-1a
  const auto mix = [&hash](int64_t value) { hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211ull; };
  for (const char* letter = name; *letter != '\0'; ++letter) mix(*letter);
  mix(num_bytes);
  mix(argument);
  for (const int64_t size : sizes) mix(size);
  ticket.signature = hash;
  return ticket;
}

std::string describe_difference(const Ticket& own, int member, const Ticket& other) {
  if (other.signature == own.signature) return {};
  std::string text = "rank " + std::to_string(member) + " of the group is in " + other.name + " of " +
                     std::to_string(other.num_bytes) + " bytes, this rank in " + own.name + " of " +
                     std::to_string(own.num_bytes);
  if (other.num_bytes == own.num_bytes && std::strcmp(other.name, own.name) == 0)
    text += ", but with another type, reduction or root";
  return text;
}

}  // namespace mfugaku::comm

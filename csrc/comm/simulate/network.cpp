// The nodes and links of a torus, for SimGrid: a library of its own, which smpirun takes in place of a platform in XML.
// What XML offers to limit a node counts sent, received and passing messages together; here a node has an interface out
// and one in, and messages on their way through it meet neither.
//
// It reads `network.txt` in the working directory, lines of a name and a value:
//
//   nodes 24x24             lengths of the torus; the first runs fastest in the numbers of node-0, node-1, ...
//   link_bytes_per_s 6.8e9  of a link in each direction
//   hop_s 1e-7              per link on the way
//   put_s 4.9e-7            from a node to its neighbour; hop_s for every further link
//   node_bytes_per_s 38e9   that a node can send, and receive; 0 for no limit
//
// A limit makes one problem of what SimGrid otherwise takes apart into small ones, and simulations many times as long.
#include <simgrid/kernel/resource/NetworkModelIntf.hpp>
#include <simgrid/s4u.hpp>

#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace {

namespace s4u = simgrid::s4u;
using NetPoint = simgrid::kernel::routing::NetPoint;

constexpr double kFlops = 1e9;  // simulated computing takes no time, but a host needs a speed

struct Network {
  std::vector<unsigned long> nodes;
  double link_bytes_per_s, hop_s, put_s, node_bytes_per_s;
};

Network read_network(const std::string& path) {
  std::ifstream file(path);
  std::map<std::string, std::string> values;
  for (std::string name, value; file >> name >> value;) values[name] = value;
  const auto number = [&](const char* name) {
    const auto found = values.find(name);
    if (found == values.end()) throw std::runtime_error(path + " does not say " + name);
    return std::stod(found->second);
  };
  Network network{{}, number("link_bytes_per_s"), number("hop_s"), number("put_s"), number("node_bytes_per_s")};
  std::stringstream lengths(values["nodes"]);
  for (std::string length; std::getline(lengths, length, 'x');) network.nodes.push_back(std::stoul(length));
  return network;
}

// Returns what stands at a place of the torus, and by which point of it messages come and go.
std::pair<NetPoint*, NetPoint*> add_node(const Network& network, s4u::NetZone* torus, unsigned long id) {
  const std::string number = std::to_string(id);
  if (network.node_bytes_per_s == 0) return {torus->create_host("node-" + number, kFlops)->get_netpoint(), nullptr};
  s4u::NetZone* const node = s4u::create_star_zone("inside-" + number);
  node->set_parent(torus);
  NetPoint* const host = node->create_host("node-" + number, kFlops)->get_netpoint();
  NetPoint* const router = node->create_router("router-" + number);
  s4u::Link* const out = node->create_link("out-" + number, network.node_bytes_per_s);
  s4u::Link* const in = node->create_link("in-" + number, network.node_bytes_per_s);
  node->add_route(host, nullptr, nullptr, nullptr, {s4u::LinkInRoute(out)}, false);
  node->add_route(nullptr, host, nullptr, nullptr, {s4u::LinkInRoute(in)}, false);
  node->add_route(router, nullptr, nullptr, nullptr, std::vector<s4u::LinkInRoute>{}, true);
  node->seal();
  return {node->get_netpoint(), router};
}

}  // namespace

// SimGrid looks it up by name.
extern "C" __attribute__((visibility("default"))) void load_platform(const s4u::Engine&) {
  const Network network = read_network("network.txt");
  const s4u::ClusterCallbacks callbacks([&](s4u::NetZone* torus, const std::vector<unsigned long>&, unsigned long id) {
    return add_node(network, torus, id);
  });
  s4u::NetZone* const torus = s4u::create_torus_zone("torus", nullptr, network.nodes, callbacks,
                                                     network.link_bytes_per_s, network.hop_s,
                                                     s4u::Link::SharingPolicy::SPLITDUPLEX);
  torus->seal();
  // SimGrid multiplies the sum of the links' latencies with what this returns, if no option says smpi/lat-factor.
  const auto latency_factor = [first_s = network.put_s - network.hop_s](double, const s4u::Host*, const s4u::Host*,
                                                                        const std::vector<s4u::Link*>& links,
                                                                        const std::unordered_set<s4u::NetZone*>&) {
    double hops_s = 0;
    for (const s4u::Link* link : links) hops_s += link->get_latency();
    return hops_s > 0 ? (first_s + hops_s) / hops_s : 1;
  };
  torus->get_network_model()->set_lat_factor_cb(latency_factor);
}

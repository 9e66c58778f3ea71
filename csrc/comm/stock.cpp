#include "stock.h"

#include <mpi.h>

#include <limits>

#include "engine.h"
#include "mpi_names.h"

namespace mfugaku::comm {
namespace {

int count_of(int64_t count) {
  if (count > std::numeric_limits<int>::max()) throw std::invalid_argument("more than MPI can count in one call");
  return static_cast<int>(count);
}

MPI_Datatype type_for(DataType type) {
  if (is_half(type) || type == DataType::Opaque)
    throw std::invalid_argument(std::string("MPI itself does not reduce ") + name_of(type));
  return mpi_type_of(type);
}

}  // namespace

struct StockMpi::Comm {
  MPI_Comm comm = MPI_COMM_NULL;
};

StockMpi::StockMpi() : comm_(std::make_shared<Comm>()) {
  Engine::instance().locked([&] {
    check_mpi(MPI_Comm_dup(Engine::instance().base(), &comm_->comm), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(comm_->comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  });
}

void StockMpi::all_reduce(void* data, int64_t count, DataType type) {
  Engine::instance().locked([&] {
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, data, count_of(count), type_for(type), MPI_SUM, comm_->comm), "MPI_Allreduce");
  });
}

void StockMpi::reduce_scatter(const void* data, void* out, int64_t out_count, DataType type) {
  Engine::instance().locked([&] {
    check_mpi(MPI_Reduce_scatter_block(data, out, count_of(out_count), type_for(type), MPI_SUM, comm_->comm),
              "MPI_Reduce_scatter_block");
  });
}

void StockMpi::all_gather(const void* data, void* out, int64_t num_bytes) {
  Engine::instance().locked([&] {
    const int count = count_of(num_bytes);
    check_mpi(MPI_Allgather(data, count, MPI_BYTE, out, count, MPI_BYTE, comm_->comm), "MPI_Allgather");
  });
}

void StockMpi::broadcast(void* data, int64_t num_bytes, int root) {
  Engine::instance().locked(
      [&] { check_mpi(MPI_Bcast(data, count_of(num_bytes), MPI_BYTE, root, comm_->comm), "MPI_Bcast"); });
}

void StockMpi::reduce(void* data, int64_t count, DataType type, int root) {
  const bool is_root = Engine::instance().rank() == root;
  Engine::instance().locked([&] {
    check_mpi(MPI_Reduce(is_root ? MPI_IN_PLACE : data, is_root ? data : nullptr, count_of(count), type_for(type),
                         MPI_SUM, root, comm_->comm),
              "MPI_Reduce");
  });
}

void StockMpi::all_to_all(const void* data, void* out, int64_t piece_bytes) {
  Engine::instance().locked([&] {
    const int count = count_of(piece_bytes);
    check_mpi(MPI_Alltoall(data, count, MPI_BYTE, out, count, MPI_BYTE, comm_->comm), "MPI_Alltoall");
  });
}

void StockMpi::gather(const void* data, void* out, int64_t num_bytes, int root) {
  Engine::instance().locked([&] {
    const int count = count_of(num_bytes);
    check_mpi(MPI_Gather(data, count, MPI_BYTE, out, count, MPI_BYTE, root, comm_->comm), "MPI_Gather");
  });
}

void StockMpi::scatter(const void* data, void* out, int64_t num_bytes, int root) {
  Engine::instance().locked([&] {
    const int count = count_of(num_bytes);
    check_mpi(MPI_Scatter(data, count, MPI_BYTE, out, count, MPI_BYTE, root, comm_->comm), "MPI_Scatter");
  });
}

void StockMpi::send(const void* data, int64_t num_bytes, int to) {
  Engine::instance().locked(
      [&] { check_mpi(MPI_Send(data, count_of(num_bytes), MPI_BYTE, to, 0, comm_->comm), "MPI_Send"); });
}

void StockMpi::receive(void* data, int64_t num_bytes, int from) {
  Engine::instance().locked([&] {
    check_mpi(MPI_Recv(data, count_of(num_bytes), MPI_BYTE, from, 0, comm_->comm, MPI_STATUS_IGNORE), "MPI_Recv");
  });
}

void StockMpi::barrier() {
  Engine::instance().locked([&] { check_mpi(MPI_Barrier(comm_->comm), "MPI_Barrier"); });
}

void StockMpi::free() {
  if (comm_->comm == MPI_COMM_NULL || !Engine::instance().is_ready()) return;
  Engine::instance().locked([&] { MPI_Comm_free(&comm_->comm); });
}

}  // namespace mfugaku::comm

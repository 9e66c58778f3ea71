// What of Fujitsu's uTofu the transport over it uses, for tests without the machine: names, types and values as in the
// "uTofu User's Guide" (J2UL-2567), chapter 3, and in the header that public programs for Fugaku are compiled with.
// On Fugaku the system's own <utofu.h> is used.
#pragma once

#include <cstddef>
#include <cstdint>

using utofu_tni_id_t = uint16_t;
using utofu_vcq_hdl_t = uintptr_t;
using utofu_vcq_id_t = uint64_t;
using utofu_stadd_t = uint64_t;

enum utofu_return_code {
  UTOFU_SUCCESS = 0,
  UTOFU_ERR_NOT_FOUND = -1,
  UTOFU_ERR_BUSY = -4,
  UTOFU_ERR_FULL = -6,
  UTOFU_ERR_NOT_AVAILABLE = -7,
  UTOFU_ERR_NOT_SUPPORTED = -8,
  UTOFU_ERR_TCQ_OTHER = -128,
  UTOFU_ERR_TCQ_DESC = -129,
  UTOFU_ERR_TCQ_MEMORY = -130,
  UTOFU_ERR_TCQ_STADD = -131,
  UTOFU_ERR_TCQ_LENGTH = -132,
  UTOFU_ERR_MRQ_OTHER = -192,
  UTOFU_ERR_MRQ_PEER = -193,
  UTOFU_ERR_MRQ_LCL_MEMORY = -194,
  UTOFU_ERR_MRQ_RMT_MEMORY = -195,
  UTOFU_ERR_MRQ_LCL_STADD = -196,
  UTOFU_ERR_MRQ_RMT_STADD = -197,
  UTOFU_ERR_MRQ_LCL_LENGTH = -198,
  UTOFU_ERR_MRQ_RMT_LENGTH = -199,
  UTOFU_ERR_INVALID_ARG = -512,
  UTOFU_ERR_INVALID_TNI_ID = -517,
  UTOFU_ERR_INVALID_VCQ_HDL = -521,
  UTOFU_ERR_INVALID_VCQ_ID = -522,
  UTOFU_ERR_INVALID_STADD = -525,
  UTOFU_ERR_INVALID_SIZE = -527,
  UTOFU_ERR_INVALID_EDATA = -529,
};

constexpr unsigned long UTOFU_VCQ_FLAG_EXCLUSIVE = 1ul << 1;
constexpr unsigned long UTOFU_ONESIDED_FLAG_STRONG_ORDER = 1ul << 0;
constexpr unsigned long UTOFU_ONESIDED_FLAG_REMOTE_MRQ_NOTICE = 1ul << 2;
constexpr unsigned long UTOFU_ONESIDED_FLAG_TCQ_NOTICE = 1ul << 14;
constexpr unsigned long UTOFU_ONESIDED_FLAG_LOCAL_MRQ_NOTICE = 1ul << 15;

enum utofu_mrq_notice_type { UTOFU_MRQ_TYPE_LCL_PUT = 0, UTOFU_MRQ_TYPE_RMT_PUT = 1 };

struct utofu_onesided_caps {
  unsigned long flags, armw_ops;
  unsigned num_cmp_ids, num_reserved_stags;
  size_t cache_line_size, stag_address_alignment, max_toq_desc_size, max_putget_size, max_piggyback_size,
      max_edata_size, max_mtu, max_gap;
};

struct utofu_mrq_notice {
  uint8_t notice_type;
  uint8_t padding1[7];
  utofu_vcq_id_t vcq_id;
  uint64_t edata;
  uint64_t rmt_value;
  utofu_stadd_t lcl_stadd;
  utofu_stadd_t rmt_stadd;
  uint64_t reserved[2];
};

extern "C" {
int utofu_get_onesided_tnis(utofu_tni_id_t** tni_ids, size_t* num_tnis);
int utofu_query_onesided_caps(utofu_tni_id_t tni_id, utofu_onesided_caps** tni_caps);
int utofu_create_vcq(utofu_tni_id_t tni_id, unsigned long flags, utofu_vcq_hdl_t* vcq_hdl);
int utofu_free_vcq(utofu_vcq_hdl_t vcq_hdl);
int utofu_query_vcq_id(utofu_vcq_hdl_t vcq_hdl, utofu_vcq_id_t* vcq_id);
int utofu_reg_mem(utofu_vcq_hdl_t vcq_hdl, void* addr, size_t size, unsigned long flags, utofu_stadd_t* stadd);
int utofu_dereg_mem(utofu_vcq_hdl_t vcq_hdl, utofu_stadd_t stadd, unsigned long flags);
int utofu_put(utofu_vcq_hdl_t vcq_hdl, utofu_vcq_id_t rmt_vcq_id, utofu_stadd_t lcl_stadd, utofu_stadd_t rmt_stadd,
              size_t length, uint64_t edata, unsigned long flags, void* cbdata);
int utofu_put_piggyback(utofu_vcq_hdl_t vcq_hdl, utofu_vcq_id_t rmt_vcq_id, void* lcl_data, utofu_stadd_t rmt_stadd,
                        size_t length, uint64_t edata, unsigned long flags, void* cbdata);
int utofu_put_piggyback8(utofu_vcq_hdl_t vcq_hdl, utofu_vcq_id_t rmt_vcq_id, uint64_t lcl_data,
                         utofu_stadd_t rmt_stadd, size_t length, uint64_t edata, unsigned long flags, void* cbdata);
int utofu_poll_tcq(utofu_vcq_hdl_t vcq_hdl, unsigned long flags, void** cbdata);
int utofu_poll_mrq(utofu_vcq_hdl_t vcq_hdl, unsigned long flags, utofu_mrq_notice* notice);
}

// What the counter takes of QEMU's interface for plugins, version 1. Debian's packages of QEMU 7.2 do not bring the
// header, and these few declarations are all that is used of it. A program that runs in QEMU is translated block by
// block; what a plugin attaches to a block or an instruction when that is translated happens whenever it is executed.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct qemu_plugin_tb;    // a translated block
struct qemu_plugin_insn;  // one of its instructions; both are known to QEMU alone
struct qemu_info_t;

using qemu_plugin_id_t = uint64_t;
enum qemu_plugin_cb_flags { kPluginUsesNoRegisters = 0 };
enum qemu_plugin_op { kPluginAdd = 0 };

size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* block);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb* block, size_t index);
const void* qemu_plugin_insn_data(const qemu_plugin_insn* instruction);
size_t qemu_plugin_insn_size(const qemu_plugin_insn* instruction);
uint64_t qemu_plugin_insn_vaddr(const qemu_plugin_insn* instruction);
const char* qemu_plugin_insn_symbol(const qemu_plugin_insn* instruction);  // null where no symbol is known

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*translated)(qemu_plugin_id_t, qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb* block, void (*executed)(unsigned thread, void*),
                                          qemu_plugin_cb_flags flags, void* data);
void qemu_plugin_register_vcpu_tb_exec_inline(qemu_plugin_tb* block, qemu_plugin_op op, void* number, uint64_t operand);
void qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_insn* instruction, void (*executed)(unsigned thread, void*),
                                            qemu_plugin_cb_flags flags, void* data);
void qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_insn* instruction, qemu_plugin_op op, void* number,
                                                uint64_t operand);

// What a plugin exports: the version it was written for, and where it begins.
__attribute__((visibility("default"))) extern int qemu_plugin_version;
__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* about, int argc,
                                                               char** argv);

}  // extern "C"

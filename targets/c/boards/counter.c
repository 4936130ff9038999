/*
 * A plugin for QEMU that counts executed instructions. At every execution of the address given by
 * mark= it writes "mark <count>". When the emulator ends, it writes how often each instruction ran
 * within pairs of marks, not counting the first skip= marks: "at <address in hex> <count>". The
 * file is out=.
 *
 * Blocks of instructions are counted, not single ones: in a plain run without interrupts, a block
 * that is entered is executed whole. The declarations stand here since distributions of QEMU do
 * not always ship the header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
enum { NO_REGISTERS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t, const struct qemu_info_t *, int, char **);

/* A translated block; one that is translated anew has several. */
struct block {
    struct block *next;
    uint64_t runs;
    bool is_mark;
    size_t size;
    uint64_t addresses[];
};

static struct block *blocks;
static uint64_t total, mark_address, skip, marks;
static FILE *out;

static void executed(unsigned processor, void *data)
{
    struct block *block = data;
    (void)processor;
    if (block->is_mark) {
        fprintf(out, "mark %" PRIu64 "\n", total);
        marks++;
    }
    total += block->size;
    if (marks > skip && (marks - skip) % 2 == 1) {
        block->runs++;
    }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    const size_t size = qemu_plugin_tb_n_insns(tb);
    struct block *block = malloc(sizeof *block + size * sizeof block->addresses[0]);
    size_t i;
    (void)id;
    if (block == NULL) {
        abort();
    }
    block->runs = 0;
    block->size = size;
    for (i = 0; i < size; i++) {
        block->addresses[i] = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
    }
    block->is_mark = size > 0 && block->addresses[0] == mark_address;
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGISTERS, block);
}

static void ended(qemu_plugin_id_t id, void *data)
{
    const struct block *block;
    size_t i;
    (void)id;
    (void)data;
    for (block = blocks; block != NULL; block = block->next) {
        for (i = 0; i < block->size && block->runs > 0; i++) {
            fprintf(out, "at %" PRIx64 " %" PRIu64 "\n", block->addresses[i], block->runs);
        }
    }
    fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    int i;
    (void)info;
    for (i = 0; i < argc; i++) {
        if (strncmp(argv[i], "mark=", 5) == 0) {
            mark_address = strtoull(argv[i] + 5, NULL, 16);
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
        } else if (strncmp(argv[i], "skip=", 5) == 0) {
            skip = strtoull(argv[i] + 5, NULL, 10);
        }
    }
    if (out == NULL) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}

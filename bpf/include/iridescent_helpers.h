/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel helpers and compiler shorthands, for both toolchains. bcc brings its own helpers. */
#ifndef IRIDESCENT_HELPERS_H
#define IRIDESCENT_HELPERS_H

/* <linux/stddef.h> makes it a mere `inline` */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#ifndef true
#define true 1
#define false 0
#endif
#ifndef NULL
#define NULL ((void *)0)
#endif

#define SPEC_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SPEC_SECTION(name) __attribute__((section(name), used))

#define net16(x) __builtin_bswap16(x)
#define net32(x) __builtin_bswap32(x)
#define net64(x) __builtin_bswap64(x)

#ifndef IRIDESCENT_BCC
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
					 __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static __u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_tail_call)(void *ctx, void *map, __u32 index) = (void *)12;
static long (*const bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;
static long (*const bpf_xdp_adjust_tail)(struct xdp_md *ctx, int delta) = (void *)65;
static long (*const bpf_fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int size,
				    __u32 flags) = (void *)69;
static long (*const bpf_xdp_load_bytes)(struct xdp_md *ctx, __u32 offset, void *to,
					__u32 size) = (void *)189;
__u64 bpf_pseudo_fd(__u64 kind, __u64 value) __asm__("llvm.bpf.pseudo");
#else
/* bcc's rewriter keeps the plain name for itself, and its own function takes (map, ctx, index) */
static long (*const spec_tail_call)(void *ctx, void *map, __u32 index) = (void *)12;
#define bpf_tail_call spec_tail_call
#endif

#endif

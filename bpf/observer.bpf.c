/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * observer: before a search the watched generic code sends one packet in 2^observe_shift here. It
 * keeps the heads of the first ones and hands all to the observing build of the generic code, which
 * notes the values points could take.
 * State: heads, per CPU, read by the controller for the preflight corpus.
 * Fallback: should its slot be empty, the generic code decides.
 */
#include "iridescent.h"

#define HEADS	   256
#define HEAD_BYTES 128
#define SLOT_OBSERVING 59

struct head {
	__u32 length; /* of the whole frame */
	__u32 captured;
	__u8 data[HEAD_BYTES];
};

MAP_PERCPU_ARRAY(heads, struct head, HEADS, "first bytes of packets seen");
MAP_PERCPU_ARRAY(observed, __u64, 1, "packets that were looked at on this CPU");

static __always_inline void keep_head(struct xdp_md *ctx, __u64 number)
{
	__u32 place = number;
	struct head *head = number < HEADS ? bpf_map_lookup_elem(MAP(heads), &place) : NULL;
	__u32 length = ctx->data_end - ctx->data;
	__u64 bytes = length < HEAD_BYTES ? length : HEAD_BYTES;

	if (!head || !bytes)
		return;
	__asm__ volatile("" : "+r"(bytes)); /* Linux 6.1 believes a mask, not the checks above */
	bytes = ((bytes - 1) & (HEAD_BYTES - 1)) + 1;
	head->length = length;
	head->captured = bpf_xdp_load_bytes(ctx, 0, head->data, bytes) ? 0 : bytes;
}

static __always_inline int observer(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *looked = bpf_map_lookup_elem(MAP(observed), &zero);

	if (looked)
		keep_head(ctx, (*looked)++);
	bpf_tail_call(ctx, MAP(slots), SLOT_OBSERVING);
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_PASS;
}
SPEC_PROGRAM(observer)

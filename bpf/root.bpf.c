/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * root: what hangs on the interface. It calls slot 0, always; a swap writes that slot.
 * State: the slots. Fallback: should slot 0 be empty, slot 1 (the generic code) runs.
 */
#include "iridescent.h"

static __always_inline int root(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_ENTRY);
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_PASS;
}
SPEC_PROGRAM(root)

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trusting: drops IPv4. The generic code is sound; the variant that trusts the sender does not
 * check the bounds of the packet, which the verifier refuses.
 */
#include "iridescent.h"

SPEC_BOOL(tuning, trust, false, "frames are taken to be long enough");

static __always_inline int trusting(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data;

	if (!trust && (void *)(data + 14) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	return data[12] == 8 && data[13] == 0 ? XDP_DROP : XDP_PASS;
}
SPEC_PROGRAM(trusting)

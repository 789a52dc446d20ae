/* SPDX-License-Identifier: GPL-2.0-only */
/* rejected: reads the packet without a check of its bounds, which the verifier refuses. */
#include "iridescent.h"

static __always_inline int rejected(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data;

	return data[12] == 8 ? XDP_DROP : XDP_PASS;
}
SPEC_PROGRAM(rejected)

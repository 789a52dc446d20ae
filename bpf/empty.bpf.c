/* SPDX-License-Identifier: GPL-2.0-only */
/* empty: drops everything. The floor that figures are compared with. */
#include "iridescent.h"

static __always_inline int empty(struct xdp_md *ctx)
{
	return XDP_DROP;
}
SPEC_PROGRAM(empty)

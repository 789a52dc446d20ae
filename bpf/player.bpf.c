/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * player: calls the program that makes the packets of the phase that is on. Writing that slot
 * changes the traffic at once, also in the middle of a live run.
 * State: the slot. Fallback: without a program in it no packet is sent.
 */
#include "iridescent.h"

MAP_PROG_ARRAY(phase, 1, "the generator of the phase that is on");

static __always_inline int player(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, MAP(phase), 0);
	return XDP_DROP;
}
SPEC_PROGRAM(player)

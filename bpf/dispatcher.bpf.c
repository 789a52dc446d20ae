/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dispatcher: stands in slot 0 during a trial and sends runs of consecutive packets to the arms,
 * so that candidates are compared on the same traffic at the same time.
 * State: the schedule (written by the controller), a packet counter per CPU.
 * Fallback: an empty slot leads to the generic code.
 */
#include "iridescent.h"

#define SCHEDULE_RUNS 256

struct schedule {
	__u32 run_bits; /* 2^run_bits consecutive packets go the same way */
	__u32 slots[SCHEDULE_RUNS];
};

MAP_ARRAY(schedule, struct schedule, 1, "which slot each run of packets goes to");
MAP_PERCPU_ARRAY(turn, __u64, 1, "packets dispatched on this CPU");

static __always_inline int dispatcher(struct xdp_md *ctx)
{
	const struct schedule *plan = MAP_VALUE(schedule);
	__u32 zero = 0;
	__u64 *turn = bpf_map_lookup_elem(MAP(turn), &zero);

	if (turn) {
		__u32 run = (*turn)++ >> (plan->run_bits & 15);

		bpf_tail_call(ctx, MAP(slots), plan->slots[run & (SCHEDULE_RUNS - 1)]);
	}
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_PASS;
}
SPEC_PROGRAM(dispatcher)

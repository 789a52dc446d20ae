/* SPDX-License-Identifier: GPL-2.0-only */
/* sink: counts and drops what a program under test has sent on. State: the count, per CPU. */
#include "iridescent.h"

MAP_PERCPU_ARRAY(arrived, __u64, 1, "packets that came here");

static __always_inline int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *arrived = bpf_map_lookup_elem(MAP(arrived), &zero);

	if (arrived)
		(*arrived)++;
	return XDP_DROP;
}
SPEC_PROGRAM(sink)

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands around every fast path: roles, arms, sampled timing, guards' way to the generic
 * code. In the steady role nothing of this is left but the body itself.
 */
#ifndef IRIDESCENT_RUN_H
#define IRIDESCENT_RUN_H

#define SPEC_SLOTS	   64 /* programs behind the root */
#define SPEC_SLOT_ENTRY	   0  /* what the root calls: the live variant, or the dispatcher */
#define SPEC_SLOT_FALLBACK 1  /* always the generic code */
#define SPEC_SLOT_OBSERVER 2  /* where watched code sends the packets that are looked at */
#define SPEC_ARMS	   32
#define SPEC_POINTS	   64
#define SPEC_VERDICTS	   8 /* XDP_ABORTED .. XDP_REDIRECT, rounded up */

#define SPEC_WATCHES	   512 /* where there are more CPUs, some share; a power of two */
#define SPEC_TRAIN	   4   /* the first packet pays for code that no cache has, the others little */

#define SPEC_KEY_BYTES	   40 /* of a key that can be hot */
#define SPEC_SMALL	   64 /* values below it are counted in an array; a power of two */

#define SPEC_FINE_NS	   512 /* histogram: one bucket per nanosecond below this */
#define SPEC_SUBBUCKETS	   32  /* above: this many per power of two */
#define SPEC_OCTAVES	   11
#define SPEC_BUCKETS	   (SPEC_FINE_NS + SPEC_OCTAVES * SPEC_SUBBUCKETS)
#define SPEC_LONG_NS	   4096 /* from here on a packet was interrupted; not in verdict_ns */

/* Which of its jobs a program is compiled for; a constant of the controller, not a point. */
enum spec_roles {
	ROLE_STEADY,   /* the fast path and nothing else */
	ROLE_ARM,      /* counted and timed */
	ROLE_FALLBACK, /* generic code that a missed guard continues in; ends the arm's sample */
	ROLE_OBSERVE,  /* notes the values that points could take */
	ROLE_WATCHED,  /* generic code before a search: sends a few packets to the observer */
};
SPEC_CONSTANT(spec_role, "spec:role");
SPEC_CONSTANT(spec_whole, "spec:role"); /* 1: no point differs from generic but policy */

SPEC_RANGE(policy, sample_shift, 1, 0, 12,
	   "while a variant is measured, one packet in 2^n is timed");

SPEC_RANGE(policy, observe_shift, 9, 0, 16,
	   "before a search, one packet in 2^n is looked at; more when few packets come");
SPEC_RANGE(policy, key_depth, 14, 6, 16, "2^n keys are remembered while packets are looked at");

struct arm_stats {
	__u64 packets;
	__u64 bytes;
	__u64 verdicts[SPEC_VERDICTS];
	__u64 misses[SPEC_POINTS];
	__u64 began_ns; /* of the packet in flight; 0 when it is not timed */
	__u32 histogram[SPEC_BUCKETS];
	__u32 verdict_samples[SPEC_VERDICTS]; /* timed packets of a verdict, interrupted ones not */
	__u64 verdict_ns[SPEC_VERDICTS];      /* their times, added up */
};

struct carry {
	__u64 began_ns;
	__u32 arm; /* its number plus one; 0: the packet did not come from an arm */
	__u32 pad;
};

struct watch {
	__u64 left;  /* packets until the next one that is looked at */
	__u64 every; /* one in so many is; SPEC_TRAIN of them in a row */
	__u64 looks; /* that were looked at */
	__u64 pad[5];
};

/* By CPU; found by its address, which is shorter than a look-up in a per-CPU array. */
struct watches {
	struct watch cpus[SPEC_WATCHES];
};

struct small_values {
	__u64 seen[SPEC_SMALL];
};

struct observation {
	__u32 point;
	__u32 value;
};

struct observed_key {
	__u32 table;
	__u8 key[SPEC_KEY_BYTES];
};

MAP_PROG_ARRAY(slots, SPEC_SLOTS, "the programs behind the root; written by the controller");
MAP_PERCPU_ARRAY(arm_stats, struct arm_stats, SPEC_ARMS, "counts and times of each arm");
MAP_PERCPU_ARRAY(carry, struct carry, 1, "from a missed guard to the generic code");
MAP_ARRAY(watch, struct watches, 1, "how few packets are looked at before a search");
MAP_PERCPU_ARRAY(small_values, struct small_values, SPEC_POINTS, "small values seen, by point index");
MAP_LRU_HASH(observations, struct observation, __u64, 4096, "larger values seen, by point index");
MAP_LRU_HASH(observed_keys, struct observed_key, __u64, 16384, "keys looked up, by table index");

/* The arm's number is put in when the program is loaded, so that objects can be cached. */
#define SPEC_ARM ((__u32)bpf_pseudo_fd(SPEC_PSEUDO_CONST, 0))

static __always_inline struct arm_stats *spec_arm_stats(__u32 arm)
{
	return bpf_map_lookup_elem(MAP(arm_stats), &arm);
}

static __always_inline __u32 spec_bucket(__u64 ns)
{
	__u32 shift = 0;

	if (ns < SPEC_FINE_NS)
		return ns;
	if (ns >= (__u64)SPEC_FINE_NS << SPEC_OCTAVES)
		return SPEC_BUCKETS - 1;
	for (__u32 i = 0; i < SPEC_OCTAVES - 1; i++)
		if (ns >> (shift + 10))
			shift++;
	return SPEC_FINE_NS + shift * SPEC_SUBBUCKETS + ((ns >> (shift + 4)) & 31);
}

static __always_inline void spec_sample(struct arm_stats *arm, __u64 began_ns, int verdict)
{
	__u64 took_ns = bpf_ktime_get_ns() - began_ns;
	__u32 place = verdict & (SPEC_VERDICTS - 1);
	__u64 bucket = spec_bucket(took_ns);

	/* The compiler knows that it is small and leaves the check out; Linux 6.1's verifier does not. */
	__asm__ volatile("" : "+r"(bucket));
	if (bucket < SPEC_BUCKETS)
		arm->histogram[bucket]++;
	if (took_ns < SPEC_LONG_NS) {
		arm->verdict_samples[place]++;
		arm->verdict_ns[place] += took_ns;
	}
}

/* Continue in the generic code, which decides about the packet; a guard's miss is counted. */
static __always_inline int spec_miss(struct xdp_md *ctx, __u32 missed)
{
	__u32 point = missed & (SPEC_POINTS - 1), zero = 0, number = SPEC_ARM;
	struct arm_stats *arm = spec_arm_stats(number);
	struct carry *carry = bpf_map_lookup_elem(MAP(carry), &zero);

	if (arm && carry) {
		if (!(missed & SPEC_RARE_BIT))
			arm->misses[point]++;
		carry->arm = number + 1;
		carry->began_ns = spec_role == ROLE_ARM ? arm->began_ns : 0;
	}
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_ABORTED; /* only if the controller broke its promise to keep the slot filled */
}

/* In the watched role, before the body: the observer takes a few packets from here. */
static __always_inline void spec_watch(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & (SPEC_WATCHES - 1);
	struct watch *watch = &MAP_VALUE(watch)->cpus[cpu];

	if (!watch->left--) {
		if (!(++watch->looks % SPEC_TRAIN))
			watch->left = (watch->every - 1) * SPEC_TRAIN;
		else
			watch->left = 0;
		bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_OBSERVER);
	}
}

/* In the observing role: note the value that `point` would have needed for this packet. */
static __always_inline void spec_observe(__u32 point, __u32 value)
{
	struct observation key = { .point = point, .value = value };
	struct small_values *small = bpf_map_lookup_elem(MAP(small_values), &point);
	__u64 *seen, one = 1;

	if (value < SPEC_SMALL) {
		if (small)
			small->seen[value & (SPEC_SMALL - 1)]++;
		return;
	}
	seen = bpf_map_lookup_elem(MAP(observations), &key);
	if (seen)
		*seen += 1;
	else
		bpf_map_update_elem(MAP(observations), &key, &one, BPF_ANY);
}

#define SPEC_OBSERVE(name, value)                                                              \
	do {                                                                                   \
		if (spec_role == ROLE_OBSERVE)                                                 \
			spec_observe(SPEC_INDEX(name), value);                                 \
	} while (0)

/* In the observing role: note a key that was looked up in a table with hot keys. */
static __always_inline void spec_observe_key(__u32 table, const void *from, __u32 bytes)
{
	struct observed_key key = { .table = table };
	__u64 *seen, one = 1;

	__builtin_memcpy(key.key, from, bytes);
	seen = bpf_map_lookup_elem(MAP(observed_keys), &key);
	if (seen)
		*seen += 1;
	else
		bpf_map_update_elem(MAP(observed_keys), &key, &one, BPF_ANY);
}

#define SPEC_OBSERVE_KEY(name, from)                                                           \
	do {                                                                                   \
		if (spec_role == ROLE_OBSERVE)                                                 \
			spec_observe_key(SPEC_TABLE_INDEX(name), from, sizeof(*(from)));       \
	} while (0)

/* A key was not among the hot ones: counted where the arm's other misses are, and the packet goes
 * on to the ordinary look-up. `name` is the point that says how many keys are compared. */
static __always_inline void spec_count_miss(__u32 point)
{
	struct arm_stats *arm = spec_arm_stats(SPEC_ARM);

	if (arm)
		arm->misses[point & (SPEC_POINTS - 1)]++;
}
#define SPEC_COUNT_MISS(name) spec_count_miss(SPEC_INDEX(name))

/* Before the body: an arm is counted, and one packet in 2^sample_shift gets a start time. */
static __always_inline struct arm_stats *spec_begin(struct xdp_md *ctx)
{
	struct arm_stats *arm;

	if (spec_role != ROLE_ARM)
		return NULL;
	arm = spec_arm_stats(SPEC_ARM);
	if (!arm)
		return NULL;
	arm->began_ns = arm->packets & ((1u << sample_shift) - 1) ? 0 : bpf_ktime_get_ns();
	arm->packets++;
	arm->bytes += ctx->data_end - ctx->data;
	return arm;
}

/* After the body; the fallback ends the sample that the arm with the missed guard began. */
static __always_inline void spec_end(struct arm_stats *arm, int verdict)
{
	__u64 began_ns = 0;

	if (spec_role == ROLE_FALLBACK) {
		__u32 zero = 0;
		struct carry *carry = bpf_map_lookup_elem(MAP(carry), &zero);

		if (!carry || !carry->arm)
			return;
		arm = spec_arm_stats(carry->arm - 1);
		began_ns = carry->began_ns;
		carry->arm = 0; /* the next packet may come from the dispatcher itself */
	} else if (arm) {
		began_ns = arm->began_ns;
	}
	if (!arm)
		return;
	if (began_ns)
		spec_sample(arm, began_ns, verdict);
	arm->verdicts[verdict & (SPEC_VERDICTS - 1)]++;
}

/* The entry of a template: `body` is the fast path, `int body(struct xdp_md *)`. */
#define SPEC_PROGRAM(body)                                                                     \
	SPEC_SECTION("xdp") int iridescent_entry(struct xdp_md *ctx)                           \
	{                                                                                      \
		struct arm_stats *arm = spec_begin(ctx);                                       \
		int verdict;                                                                   \
                                                                                               \
		if (spec_role == ROLE_WATCHED)                                                 \
			spec_watch(ctx);                                                       \
		verdict = body(ctx);                                                           \
		spec_end(arm, verdict);                                                        \
		return verdict;                                                                \
	}

#endif

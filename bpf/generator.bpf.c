/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * generator: run by the kernel on live frames, it writes the next packet of a stream into the
 * frame and redirects it into a veth. In a plain test run it calls a program instead, which then
 * meets the stream as traffic would bring it, branch prediction included.
 * The called program may move the frame's head, as encapsulation does: the next call puts it back
 * by the difference to the length that was written. It must not move the tail.
 * State: the stream (frames and their order), the progress on each CPU.
 */
#include "iridescent.h"
#include "cursor.h"

#define FRAMES	     4096
#define FRAME_BYTES  248
#define SEQUENCE     65536
#define MAX_WORDS    (FRAME_BYTES / 8)

SPEC_ENUM(policy, delivery, DELIVER_REDIRECT, "where a packet goes: into the veth, or a program",
	  DELIVER_REDIRECT, DELIVER_CALL);

struct frame {
	__u32 length; /* of the whole frame; may exceed the bytes kept here */
	__u32 bytes;
	__u8 data[FRAME_BYTES];
};

struct frames {
	struct frame frames[FRAMES];
};

struct sequence {
	__u16 frame[SEQUENCE];
};

struct progress {
	__u64 made;
	__u64 length; /* of the frame as it was written; 0 before a run's first packet */
};

MAP_ARRAY(frames, struct frames, 1, "the distinct packets of the stream");
MAP_ARRAY(sequence, struct sequence, 1, "the order in which they are sent, again and again");
MAP_PERCPU_ARRAY(position, struct progress, 1, "packets made on this CPU");
MAP_DEVMAP(port, 1, "the interface that packets are sent into");
MAP_PROG_ARRAY(target, 1, "the program that is called instead");

/* What is left of a frame after its last whole word. */
static __always_inline void write_tail(void *to, void *end, const __u8 *from)
{
	for (__u32 i = 0; i < 7; i++)
		if (to + i + 1 <= end)
			*((__u8 *)to + i) = from[i];
}

/* Called for every packet, also where nothing has moved: so the call is part of what the generator
 * costs with an empty program, which is taken off, and not of what the called program costs. */
static __always_inline int put_head_back(struct xdp_md *ctx, __u32 written)
{
	struct cursor at = cursor_of(ctx);
	__u32 length = frame_bytes(&at);

	return bpf_xdp_adjust_head(ctx, written ? (int)length - (int)written : 0);
}

static __always_inline int write_frame(struct xdp_md *ctx, const struct frame *frame)
{
	__u32 length = ctx->data_end - ctx->data;
	void *to, *end;

	if (length != frame->length && bpf_xdp_adjust_tail(ctx, (int)frame->length - (int)length))
		return -1;
	to = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	for (__u32 i = 0; i < MAX_WORDS && i * 8 < frame->bytes; i++) {
		if (to + 8 > end) {
			write_tail(to, end, frame->data + i * 8);
			break;
		}
		*(__u64 *)to = *(const __u64 *)(frame->data + i * 8);
		to += 8;
	}
	return 0;
}

static __always_inline int generator(struct xdp_md *ctx)
{
	const struct sequence *order = MAP_VALUE(sequence);
	const struct frames *all = MAP_VALUE(frames);
	__u32 zero = 0;
	struct progress *position = bpf_map_lookup_elem(MAP(position), &zero);
	const struct frame *frame;

	if (!position)
		return XDP_ABORTED;
	frame = &all->frames[order->frame[position->made & (SEQUENCE - 1)] & (FRAMES - 1)];
	if (delivery == DELIVER_CALL) {
		if (put_head_back(ctx, position->length))
			return XDP_ABORTED;
		position->length = frame->length;
	}
	if (write_frame(ctx, frame))
		return XDP_ABORTED;
	position->made++;
	if (delivery == DELIVER_REDIRECT)
		return bpf_redirect_map(MAP(port), 0, 0);
	bpf_tail_call(ctx, MAP(target), 0);
	return XDP_ABORTED;
}
SPEC_PROGRAM(generator)

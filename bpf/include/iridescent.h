/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The template language of Iridescent XDP: points, maps, guards, statistics, entry.
 *
 * One dialect, read three times: by the controller (IRIDESCENT_DESCRIBE, which keeps the
 * declarations as annotations), by bcc (IRIDESCENT_BCC, point values as -D) and by clang for
 * the LLVM toolchain (point values stay external constants that are linked in per variant).
 *
 * A point is used as a value: `if (vlan_depth)`, never with #ifdef.
 */
#ifndef IRIDESCENT_H
#define IRIDESCENT_H

#include <linux/types.h>
#ifdef IRIDESCENT_BCC /* the kernel's own <linux/bpf.h> takes five times as long to read */
#include <uapi/linux/bpf.h>
#else
#include <linux/bpf.h>
#endif

#include "iridescent_helpers.h"

#ifdef IRIDESCENT_DESCRIBE
#define SPEC_NOTE(text)	   __attribute__((annotate(text)))
#define SPEC_INDEX(name)   0
#define SPEC_TABLE_INDEX(name) 0
#define MAP_FD(name)	   0
#else
#define SPEC_NOTE(text)
#define SPEC_INDEX(name)   SPEC_INDEX_##name
#define SPEC_TABLE_INDEX(name) SPEC_TABLE_##name
#define MAP_FD(name)	   MAP_FD_##name
#endif

#ifdef IRIDESCENT_BCC
#define SPEC_CONSTANT(name, note) static const __u32 name = SPEC_VALUE_##name
#define SPEC_COMPILED(name, key, note) static __always_inline __u32 name(const struct key *)
#else
#define SPEC_CONSTANT(name, note) extern const __u32 name SPEC_NOTE(note)
#define SPEC_COMPILED(name, key, note) extern __u32 name(const struct key *) SPEC_NOTE(note)
#endif

/*
 * Points. `class` is tuning (right for every packet, searched), narrowing (right while the
 * traffic fits, searched and guarded) or policy (set by the operator only).
 */
#define SPEC_BOOL(class, name, value, doc)                                                     \
	SPEC_CONSTANT(name, "spec:bool:" #class ":" doc);                                      \
	enum { name##__default = (value), name##__low = 0, name##__high = 1 }
#define SPEC_RANGE(class, name, value, low, high, doc)                                         \
	SPEC_CONSTANT(name, "spec:range:" #class ":" doc);                                     \
	enum { name##__default = (value), name##__low = (low), name##__high = (high) }
#define SPEC_ENUM(class, name, value, doc, ...)                                                \
	enum name##__values { __VA_ARGS__ };                                                   \
	SPEC_CONSTANT(name, "spec:enum:" #class ":" doc);                                      \
	enum { name##__default = (value) }
/* A value that is observed in the traffic; 0 stands for "none yet". */
#define SPEC_GENERIC(class, name, doc)                                                         \
	SPEC_CONSTANT(name, "spec:generic:" #class ":" doc);                                   \
	enum { name##__default = 0, name##__low = 0, name##__high = 0 }
/* A condition on the traffic: narrowing, not assumed unless the search finds that it pays. */
#define SPEC_ASSUME(name, doc)                                                                 \
	SPEC_CONSTANT(name, "spec:assume:narrowing:" doc);                                     \
	enum { name##__default = 0, name##__low = 0, name##__high = 1 }
/* A function `__u32 name(const struct key *)` that is generated from a control-plane table. */
#define SPEC_TABLE(name, key, doc) SPEC_COMPILED(name, key, "spec:table:" #key ":" doc)

/* The same for the keys that packets look up most; SPEC_NOT_HOT for every other key. The struct
 * has at most SPEC_KEY_BYTES, and its padding is zero. */
#define SPEC_HOT(name, key, doc)   SPEC_COMPILED(name, key, "spec:hot:" #key ":" doc)
#define SPEC_NOT_HOT		   0xffffffffu

/*
 * How a table is kept, open to more ways: the ENUM point `name` with the template's own ways, and
 * the function `__u32 table(const struct key *)`. The values behind the own ones are Python files
 * that make the function's code (docs/representations.md).
 */
#define SPEC_CUSTOM(name, value, table, key, doc, ...)                                         \
	SPEC_ENUM(tuning, name, value, doc, __VA_ARGS__);                                      \
	enum { name##__custom__##table = sizeof((int[]){ __VA_ARGS__ }) / sizeof(int) };       \
	SPEC_COMPILED(table, key, "spec:table:" #key ":" doc)

/* True when the point has another value than in the generic variant. */
#define SPEC_NARROWED(name) (name != name##__default)

/* What a parser returns for a packet that breaks the assumption behind a point. */
#define SPEC_MISS_BIT	  0x80000000u
#define SPEC_MISSED(name) (SPEC_MISS_BIT | SPEC_INDEX(name))
/* The same in one step, for `return SPEC_MISS(ctx, name);` before any side effect. */
#define SPEC_MISS(ctx, name) spec_miss(ctx, SPEC_MISSED(name))

/*
 * Guards in one line: `missed = SPEC_...; if (missed) return missed;` before any side effect. Each
 * notes what the point would have needed for this packet, and is 0, or SPEC_MISSED(name) when the
 * packet breaks what the variant assumes. Then the compiler knows that it holds.
 */
#define SPEC_GUARD(name, needed, broken)                                                       \
	({                                                                                     \
		SPEC_OBSERVE(name, needed);                                                    \
		SPEC_NARROWED(name) && (broken) ? SPEC_MISSED(name) : 0;                       \
	})
/* Declares the assumption where it is guarded: SPEC_ASSUME and its guard. */
#define SPEC_ASSUMED(name, condition, doc)                                                     \
	({                                                                                     \
		SPEC_ASSUME(name, doc);                                                        \
		const __u32 name##__holds = !!(condition);                                     \
		SPEC_GUARD(name, name##__holds, !name##__holds);                               \
	})
/* Declares the one value that packets have, where it is guarded: SPEC_GENERIC and its guard. */
#define SPEC_ONLY(name, value, doc)                                                            \
	({                                                                                     \
		SPEC_GENERIC(narrowing, name, doc);                                            \
		const __u32 name##__value = (value);                                           \
		SPEC_GUARD(name, name##__value, name##__value != name);                        \
	})
/* Declares that packets which `has` something are handled here, where it is guarded. */
#define SPEC_HANDLED(name, has, doc)                                                           \
	({                                                                                     \
		SPEC_BOOL(narrowing, name, true, doc);                                         \
		const __u32 name##__has = !!(has);                                             \
		SPEC_GUARD(name, name##__has, name##__has);                                    \
	})
/* The same for packets that come seldom: only the generic variant has code for them, others are
 * smaller without. No assumption, so nothing is counted. */
#define SPEC_RARE_BIT	SPEC_POINTS
#define SPEC_RARE(rare) (!spec_whole && (rare) ? SPEC_MISS_BIT | SPEC_RARE_BIT : 0)
/*
 * Hot keys in one line: `if (SPEC_FOUND_HOT(count, table, &key, &result))`. Notes the key, and asks
 * the SPEC_HOT function `table` unless the point `count` is 0; a miss is counted there. _IN asks
 * `look_up` instead.
 */
#define SPEC_FOUND_HOT(count, table, key, result)                                              \
	SPEC_FOUND_HOT_IN(table, count, table, key, result)
#define SPEC_FOUND_HOT_IN(look_up, count, table, key, result)                                  \
	({                                                                                     \
		SPEC_OBSERVE_KEY(table, key);                                                  \
		SPEC_ASKED_HOT(count, look_up, key, result);                                   \
	})
/* The same for keys that are noted elsewhere. */
#define SPEC_ASKED_HOT(count, look_up, key, result)                                            \
	({                                                                                     \
		*(result) = count ? look_up(key) : SPEC_NOT_HOT;                               \
		if (count && *(result) == SPEC_NOT_HOT)                                        \
			SPEC_COUNT_MISS(count);                                                \
		*(result) != SPEC_NOT_HOT;                                                     \
	})

/* Maps belong to the controller; a variant only refers to them. */
#define SPEC_MAP(kind, name, key_type, value_type, count, map_flags, doc)                      \
	typedef key_type name##__key;                                                          \
	typedef value_type name##__value;                                                      \
	enum { name##__entries = (count), name##__flags = (map_flags) };                       \
	extern const __u32 name##__map SPEC_NOTE("map:" #kind ":" doc)
#define MAP_ARRAY(name, value, count, doc)                                                     \
	SPEC_MAP(ARRAY, name, __u32, value, count, 0, doc)
#define MAP_PERCPU_ARRAY(name, value, count, doc)                                              \
	SPEC_MAP(PERCPU_ARRAY, name, __u32, value, count, 0, doc)
#define MAP_HASH(name, key, value, count, doc)                                                 \
	SPEC_MAP(HASH, name, key, value, count, 0, doc)
#define MAP_PERCPU_HASH(name, key, value, count, doc)                                          \
	SPEC_MAP(PERCPU_HASH, name, key, value, count, 0, doc)
#define MAP_LRU_HASH(name, key, value, count, doc)                                             \
	SPEC_MAP(LRU_HASH, name, key, value, count, 0, doc)
#define MAP_LRU_PERCPU_HASH(name, key, value, count, doc)                                      \
	SPEC_MAP(LRU_PERCPU_HASH, name, key, value, count, 0, doc)
#define MAP_LPM_TRIE(name, key, value, count, doc)                                             \
	SPEC_MAP(LPM_TRIE, name, key, value, count, BPF_F_NO_PREALLOC, doc)
#define MAP_PROG_ARRAY(name, count, doc)                                                       \
	SPEC_MAP(PROG_ARRAY, name, __u32, __u32, count, 0, doc)
#define MAP_DEVMAP(name, count, doc)                                                           \
	SPEC_MAP(DEVMAP, name, __u32, __u32, count, 0, doc)

#define SPEC_PSEUDO_MAP	  1
#define SPEC_PSEUDO_VALUE 2
#define SPEC_PSEUDO_CONST 15 /* our own: the loader puts a plain number there */

/* The map as helpers want it, and the address of the value of an array map with one entry. */
#define MAP(name)	((void *)bpf_pseudo_fd(SPEC_PSEUDO_MAP, MAP_FD(name)))
#define MAP_VALUE(name) ((name##__value *)bpf_pseudo_fd(SPEC_PSEUDO_VALUE, MAP_FD(name)))

#include "iridescent_run.h"

#endif

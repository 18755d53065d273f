/*
 * Every limit of the protocol and the model, by name. Contract sections 1 to 3 are the source of
 * the numbers.
 */
#ifndef PROTO_LIMITS_H
#define PROTO_LIMITS_H

#define PROTOCOL_VERSION 1

#define LIMIT_FRAME_BYTES (64u << 20) /* one frame in, or one batch file in JSON or MessagePack */
#define LIMIT_FRAME_NODES (16u << 20) /* values in one frame in */
#define LIMIT_DEPTH_IN 32	      /* nested containers in one frame in */
#define LIMIT_DEPTH_OUT 16	      /* nested containers in one frame out */
#define LIMIT_REPLY_BYTES (4u << 20)  /* one reply */
#define LIMIT_QUEUE_BYTES                                                                          \
	(1u << 20)		     /* notifications queued for a connection that does not read   \
				      */
#define LIMIT_PUSH_BYTES (64u << 10) /* a push, which stands before every event */
#define LIMIT_NOTATION_BYTES (8u << 20) /* one batch file in the notation */
#define LIMIT_METHOD_BYTES 64		/* a method name */
#define LIMIT_OPS 1048576		/* ops of a batch */
#define LIMIT_META_DEPTH 8		/* nesting of `meta` */
#define LIMIT_NAME_BYTES 200		/* names and ids: runs, ops, todos, groups, lists, owners */
#define LIMIT_TEXT_CHARS 200		/* `text` of an op, in characters */
#define LIMIT_RETRIES 4000		/* `retries` of an op: attempts are 12 bits of the token */
#define LIMIT_INT (INT64_C(1) << 53)	/* integers on the wire lie within +- this */
#define LIMIT_WEIGHT 65535		/* `weight` of an op */
#define LIMIT_JOBS 65535		/* `jobs` of a batch, slots of a group */
#define LIMIT_PRIORITY 1000000		/* `priority` of a batch, either sign */
#define LIMIT_DURATION_MS (INT64_C(10000) * 86400 * 1000) /* any duration */
#define LIMIT_ARGV_BYTES                                                                           \
	(132u << 10) /* all of an argv with its NULs: one packet to the spawner holds it */
#define LIMIT_OP_ENV_BYTES (44u << 10) /* `env` of one op, likewise */
#define LIMIT_READY_MATCH_BYTES 4096   /* of `ready: {match}` */
#define LIMIT_STRING_BYTES                                                                         \
	131072		      /* one string handed to exec with its NUL (Linux: MAX_ARG_STRLEN) */
#define LIMIT_PATH_BYTES 4095 /* a path (Linux: PATH_MAX with its NUL) */
#define LIMIT_TODO_TEXT_BYTES (64 << 10) /* each text of a todo item */
#define LIMIT_TODOS 10000		 /* items of one list */
#define LIMIT_TODO_BYTES (1u << 20)	 /* all of one item, so that a reply holds it */
#define LIMIT_PLAN_OPS 10000		 /* ops that batch.check lists */
#define LIMIT_OUTPUT_DEFAULT (1u << 20)	 /* `limit` of run.output when not given */
#define LIMIT_OUTPUT_MAX                                                                           \
	(3u << 20) /* `limit` and `tail` of run.output: with its chunks it stays below             \
		      LIMIT_REPLY_BYTES */
#define DEFAULT_OUTPUT_CAP (INT64_C(16) << 20)
#define DEFAULT_RETRY_DELAY_MS 1000
#define DEFAULT_GRACE_MS 5000 /* TERM, this long, KILL */
#define DRAIN_GRACE_MS 200    /* after an op's process ended, for its pipes and children */
#define LINGER_KILL_MS 1000   /* TERM to KILL for children that outlived their op */

#endif

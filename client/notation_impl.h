/*
 * The parts of the notation's parser and how they meet:
 *
 *	notation_md.c     which part of a document is read at all
 *	notation_parse.c  lines: headers, ops, preamble, what may be skipped; builds the batch
 *	notation_head.c   what a header is
 *	notation_op.c     what an op looks like, its arguments
 *	notation_map.c    arguments to an op of the wire
 *	notation_value.c  values (notation_value.h); notation_src.c the text and places in it
 */
#ifndef CLIENT_NOTATION_IMPL_H
#define CLIENT_NOTATION_IMPL_H

#include "client/notation.h"
#include "client/notation_value.h"
#include "proto/batch.h"

/* ---- headers ---- */

enum head_word { HEAD_NONE, HEAD_MESSAGE, HEAD_STEP, HEAD_PHASE, HEAD_WORD_MAX };

struct head {
	const char *at;
	struct slice label;  /* in brackets, trimmed; absent: none */
	enum head_word word; /* of the number, in front or inside the label */
	int64_t number;	     /* -1: none */
	const char *keys;    /* where {...} stands, or NULL */
	bool colon;
	bool clean; /* nothing follows on the line but a comment or an op */
};

/* A header at the cursor, which stands at the first byte of a line that is no blank; moves past it.
 */
bool head_scan(struct src *s, struct head *ret);
/* A comment at the cursor that reads "Message 2: ..."; the cursor stays before the comment. */
bool head_scan_comment(const struct src *s, struct head *ret);
/* Is the label one that stands for something else, as [10+ todos ...]? */
bool head_is_placeholder(const struct head *h);

/* ---- ops ---- */

struct op_form {
	const char *name; /* as written */
	enum op_kind kind;
	const char *positional[3]; /* the keys of its arguments in order; all are needed */
	const char *needs;	   /* "Bash needs ..." */
	bool array;		   /* may be written Name [...] */
	bool bare;		   /* may be written without arguments */
};

extern const struct op_form op_forms[];		       /* ends with a NULL name */
const struct op_form *op_form_find(struct slice name); /* any case */

enum look_kind {
	LOOK_NONE,
	LOOK_KNOWN,   /* form is set */
	LOOK_FOREIGN, /* a tool of coding agents that is no op here: Task, mcp__... */
	LOOK_UNKNOWN, /* looks like an op, of a name nobody knows */
};

struct op_look {
	enum look_kind kind;
	const struct op_form *form;
	const char *at; /* of the name */
	struct slice name;
	bool exact; /* the name's own letter case */
};

/*
 * What stands at the cursor, after bullets and `await`; moves past the name where it is an op.
 * `started`: after the first header or op prose is not expected, and more counts as a mistyped op.
 */
enum look_kind op_look(struct src *s, bool started, struct op_look *ret);
/* Steps over what belongs to the op just looked at: its arguments, unread. False where they have no
 * end. */
bool op_skip(struct src *s);
/* An op's name with something that looks like its arguments, anywhere in the rest of the line: its
 * place, or NULL. */
const char *op_inside_line(const struct src *s);
/* "unknown op 'Bsh': did you mean Bash?" */
enum note op_unknown(struct nv_scope *sc, const struct op_look *look);

struct op_args {
	struct nv *positional; /* NV_ARRAY */
	struct nv *named;      /* NV_OBJECT */
};

enum note op_parse_args(struct nv_scope *sc, struct op_args *ret) _must_check_;

/* The op as on the wire; *ret is NULL where a name is unbound (noted). `at` is for errors, and may
 * be NULL. */
enum note op_map(struct nv_scope *sc, const struct op_form *form, const struct op_args *args,
		 const char *at, json_t **ret) _must_check_;

/* Adds the members of `keys` to a batch or message; `what` is "Batch" or "a header". */
enum note map_batch_keys(struct nv_scope *sc, const struct nv *keys, json_t *batch) _must_check_;
enum note map_message_keys(struct nv_scope *sc, const struct nv *keys,
			   json_t *message) _must_check_;

/* ---- the document ---- */

struct notation {
	struct nv_scope sc;
	json_t *batch, *messages;
	json_t *message;  /* being filled (borrowed), or NULL */
	struct head head; /* the last header, until its first op */
	bool has_head;
	bool started; /* a header or an op was seen */
	const char *batch_at;
	struct notation_places places;
	struct err soft; /* the first of n_soft things that were stepped over */
	unsigned n_soft;
};

/* Reads the ops of one stretch of text: sc.src from p to end. */
enum note notation_stretch(struct notation *n) _must_check_;
/* Preamble at the cursor: `const NAME =`; `Batch {`. */
bool notation_at_const(const struct src *s);
bool notation_at_batch(const struct src *s);
/* Tells of something skipped: "NAME:3:1: skipped: TEXT". */
void notation_notice(struct nv_scope *sc, const char *at, struct slice text);

/* Is this a markdown document: does a fence stand before the first op or header? */
bool md_is_document(struct src s);
/* Reads the blocks of it that hold ops. */
enum note md_parse(struct notation *n) _must_check_;

#endif

/*
 * Values of the notation, parsed but not yet a batch: each knows where it stands, references may
 * still be unbound. Nodes live in an arena and are never freed one by one; a bound reference shares
 * the children of what it is bound to.
 */
#ifndef CLIENT_NOTATION_VALUE_H
#define CLIENT_NOTATION_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "client/notation.h"
#include "client/notation_src.h"

enum nv_type {
	NV_NULL,
	NV_BOOL,
	NV_INT,
	NV_REAL,
	NV_STR,	  /* UTF-8, from a literal or a define */
	NV_BYTES, /* not UTF-8, from --define NAME=@FILE */
	NV_ARRAY,
	NV_OBJECT,
	NV_UNBOUND, /* holds a name that nothing binds; already noted */
	NV_TYPE_MAX
};

struct nv {
	enum nv_type type;
	bool undefined : 1;	/* NV_NULL written `undefined` */
	bool paren : 1;		/* stood in parentheses: a number that is meant as it is */
	bool only_comment : 1;	/* NV_ARRAY with nothing but a comment inside: a placeholder */
	bool holds_unbound : 1; /* some part of it is NV_UNBOUND */
	bool no_value : 1;	/* NV_UNBOUND: a const was given, but not as a plain value */
	uint32_t count;		/* children */
	const char *at;		/* NULL where it came from no text */
	struct slice key;	/* of an object's member */
	const char *key_at;
	struct nv *next; /* sibling */
	union {
		bool b;
		int64_t i;
		double d;
		struct slice s;
		struct {
			struct nv *first, *last;
		};
	};
};

/*
 * How a piece of text was taken. NOTE_SOFT: well formed but nothing we can run (a placeholder, an
 * expression, an unknown name): e is filled, and --skip-unknown may step over the op.
 */
enum note { NOTE_OK, NOTE_ERROR, NOTE_SOFT };

/* Where parsed nodes and decoded strings live. */
struct arena {
	struct arena_chunk *chunks;
	size_t left;
	char *at;
};

void *arena_alloc(struct arena *a, size_t size); /* zeroed, aligned */
struct slice arena_copy(struct arena *a, struct slice s);
void arena_reset(struct arena *a); /* forgets all, keeps some memory for what comes */
void arena_done(struct arena *a);  /* frees all */

struct nv_unbound {
	const char *name; /* owned */
	const char *at;
	const char *const_at; /* of a const of that name which is no plain value; or NULL */
	bool template;	      /* ${name} in backticks */
};

/* What the value parser needs to know; part of struct notation. */
struct nv_scope {
	struct src src;
	const struct notation_options *options;
	struct arena *arena;  /* where new nodes go */
	struct arena kept;    /* of consts and defines: lives as long as the scope */
	struct arena passing; /* of one op */
	json_t *names;	      /* name -> index into bound */
	struct nv **bound;
	size_t n_bound;
	size_t n_defines;      /* the first of bound come from --define: they win */
	json_t *unbound_names; /* seen already */
	struct nv_unbound *unbound;
	size_t n_unbound;
	unsigned depth;	 /* of brackets: inside them an expression may go on in the next line */
	struct buf text; /* of the string being decoded */
	size_t budget;	 /* bytes that expansion may still produce */
	struct err *e;
};

void nv_scope_init(struct nv_scope *sc, const char *name, struct slice text,
		   const struct notation_options *options, struct err *e);
void nv_scope_done(struct nv_scope *sc);
/* Binds --define NAME=TEXT and NAME=@FILE. */
int nv_scope_define(struct nv_scope *sc) _must_check_;
/* Binds a `const`; a define of that name stays. A later const of the same name wins. */
void nv_bind(struct nv_scope *sc, struct slice name, const struct nv *v);
/* Forgets unbound names noted since n_unbound was `n`: their op is skipped. */
void nv_forget_unbound(struct nv_scope *sc, size_t n);

/* An error at `at`, of the two kinds. */
enum note nv_error(struct nv_scope *sc, const char *at, const char *fmt, ...) _printf_(3, 4);
enum note nv_soft(struct nv_scope *sc, const char *at, const char *fmt, ...) _printf_(3, 4);
/* Takes `bytes` from the budget; NOTE_ERROR when it is used up. */
enum note nv_spend(struct nv_scope *sc, const char *at, size_t bytes) _must_check_;

/* Blanks, newlines, comments. */
enum note nv_space(struct nv_scope *sc, bool *ret_comment) _must_check_;
/* An expression at the cursor. */
enum note nv_parse(struct nv_scope *sc, struct nv **ret) _must_check_;
/*
 * After the element `last` (NULL: a member of an object) of what `close` closes: takes a comma; the
 * end or a new line will do as well. Anything else is prose, or an expression.
 */
enum note nv_separator(struct nv_scope *sc, const struct nv *last, char close,
		       bool *ret_comment) _must_check_;
/* A string literal at the cursor (notation_string.c); NV_STR or NV_UNBOUND. */
enum note nv_parse_string(struct nv_scope *sc, struct nv **ret) _must_check_;
bool nv_at_string(const struct src *s);
/* The value a (dotted) name stands for, as a node of its own at `at`; NV_UNBOUND, and noted, where
 * nothing binds it. */
enum note nv_resolve(struct nv_scope *sc, struct slice name, const char *at, bool template,
		     struct nv **ret) _must_check_;
/* The same without noting it: NULL where nothing binds it. */
const struct nv *nv_find(struct nv_scope *sc, struct slice name);

struct nv *nv_new(struct nv_scope *sc, enum nv_type type, const char *at);
struct nv *nv_copy(struct nv_scope *sc, const struct nv *v, const char *at);
void nv_add(struct nv *container, struct nv *child);
struct nv *nv_get(const struct nv *object, const char *key);
/* {$bin: "..."}, or NV_BYTES. */
bool nv_is_bytes(const struct nv *v);
bool nv_is_text(const struct nv *v); /* NV_STR or bytes */
/* Is some part of it unbound? */
bool nv_has_unbound(const struct nv *v);
/* "a string", "an object", ... */
const char *nv_type_name(const struct nv *v);
/* As a new json_t. */
enum note nv_to_json(struct nv_scope *sc, const struct nv *v, json_t **ret) _must_check_;
struct nv *nv_from_json(struct nv_scope *sc, const json_t *v);

/* Pure expressions (notation_js.c), with JavaScript's results. */
struct nv_sum {
	struct nv *v;	 /* so far */
	struct buf text; /* its text, once it is a string */
	bool is_text;
};
/* v += b; `at` is the operator. */
enum note nv_sum_add(struct nv_scope *sc, struct nv_sum *sum, const struct nv *b,
		     const char *at) _must_check_;
enum note nv_join(struct nv_scope *sc, const struct nv *array, const struct nv *separator,
		  const char *at, struct nv **ret) _must_check_;
enum note nv_stringify(struct nv_scope *sc, const struct nv *v, const struct nv *indent,
		       const char *at, struct nv **ret) _must_check_;
/* Appends v as String(v) would give it; NOTE_SOFT for arrays, objects and bytes. */
enum note nv_to_text(struct nv_scope *sc, const struct nv *v, const char *at,
		     struct buf *out) _must_check_;

#endif

/*
 * What may complete a word of a batchctl line. Nothing here knows a verb or an option by name: the
 * walk follows the same rows as dispatch does, and what a value is called in them ("RUN", "LIST",
 * "[RUN[.OP]...]") says where its candidates come from. So a verb, an option, a method that is new
 * completes, and none goes stale.
 *
 * complete_live.c asks the daemon for runs, ops, todos, lists and pools; it starts none, and says
 * nothing where none runs.
 */
#ifndef CLIENT_COMPLETE_H
#define CLIENT_COMPLETE_H

#include "client/verbs.h"
#include "common/buf.h"
#include "common/slice.h"

#define COMPLETE_GROUPS 3

struct complete {
	struct ctx *c;	  /* its socket is the one the words name */
	const char *word; /* to be completed */
	size_t kept;	  /* bytes of it that come before the value: of "--name=va", 7 */
	const char *list; /* --list of the words, NULL: none */
	bool everywhere;  /* --everywhere is among the words */
	const struct verb *verb, *parent;
	struct strv operands;
	int command_at;	    /* the word where the command of add, run, each begins; -1: none */
	const char *others; /* what the shell adds: "none", "files", "dirs", "command N" */
	char command[32];
	struct buf lines; /* VALUE, a tab, what it is; a line each */
};

/*
 * Prints what may complete the last of `words` (those after the program's name): first a line that
 * says what the shell has to add itself, ":none", ":files", ":dirs" or ":command N" (a command line
 * of its own begins at word N, from 0), then a line a candidate. An exit status.
 */
int complete_words(struct ctx *c, const char *const *words, int n) _must_check_;
/* Is a value of that name known: has it candidates, or is it said to have none? For a test. */
bool complete_knows(const char *meta);

/* Adds a candidate where it begins as the word does. */
void complete_offer(struct complete *k, struct slice value, struct slice help);

void complete_runs(struct complete *k);
void complete_ops(struct complete *k); /* RUN, and RUN.OP once there is a dot */
void complete_todos(struct complete *k);
void complete_lists(struct complete *k);
void complete_groups(struct complete *k);

#endif

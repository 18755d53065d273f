#include "daemon/spawner/tree.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "daemon/spawner/cgroup.h"
#include "daemon/spawner/mark.h"
#include "daemon/spawner/pids.h"
#include "daemon/spawner/proc.h"
#include "daemon/spawner/warm.h"

/* From a noted time before a fork to the fork, where the time after it is not known. */
#define TREE_START_SLACK_NS INT64_C(2000000000)
/* Until an orphan that does not say whose it is is left alone. */
#define TREE_PATIENCE_MS 50

struct orphan {
	int32_t pid;
	int sent;	 /* last signal that ended processes, 0: none */
	uint64_t owner;	 /* token, 0: nobody's */
	bool settled;	 /* owner is final */
	bool looked;	 /* was there when an op ended: too late to be new */
	bool told;	 /* that it is unclear */
	int64_t seen_ms; /* first */
	uint32_t next_free;
};

static struct orphan orphans[PIDS_ORPHANS];
static uint32_t end, free_nodes; /* as in table.c */
static int32_t self;
static const struct list *closing;
/* Inside tree_look: how many ops are alive; else 0. How many orphans it found unclear that may yet
 * become clear. */
static uint32_t live_in_look, unclear;

int tree_init(const struct list *closing_ops)
{
	closing = closing_ops;
	self = (int32_t)getpid();
	return proc_init();
}

/* --- whose is an orphan --- */

static struct op *tree_op(uint64_t token)
{
	uint32_t slot = token == 0 ? TABLE_NONE : table_find(token);
	return slot == TABLE_NONE ? NULL : op_at(slot);
}

/* The op whose session or group has this number: one that runs, or one of the closing, whose number
 * lives on with its members. */
static struct op *tree_of_session(int32_t id)
{
	uint32_t node = pids_find(id);
	if (node < SW_CAPACITY)
		return op_at(node);
	list_for (closing, at) {
		struct op *op = list_entry(at, struct op, closing);
		if (op_record(op)->pid == id)
			return op;
	}
	return NULL;
}

uint64_t tree_owner_hash(const char *strings, size_t len)
{
	static const char name[] = "BATCHD_OWNER=";
	for (size_t at = 0; at < len; at += strlen(strings + at) + 1) {
		if (strncmp(strings + at, name, sizeof(name) - 1) != 0)
			continue;
		uint64_t h = UINT64_C(0xcbf29ce484222325);
		for (const char *p = strings + at + sizeof(name) - 1; *p; p++)
			h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
		return h ? h : 1;
	}
	return 0;
}

static uint64_t tree_number(const char *s, const char *name)
{
	size_t len = strlen(name);
	return strncmp(s, name, len) == 0 ? strtoull(s + len, NULL, 10) : 0;
}

/* As proc(5) has it of starttime: the kernel rounds down. */
static uint64_t tree_ticks(int64_t boot_ns)
{
	int64_t tick_ns = INT64_C(1000000000) / sysconf(_SC_CLK_TCK);
	return (uint64_t)(boot_ns / tick_ns);
}

/* Between the two times, to the tick; until_ns 0: not known. */
static bool tree_began(const struct proc *p, int64_t from_ns, int64_t until_ns)
{
	return p->start_ticks >= tree_ticks(from_ns) &&
	       p->start_ticks <= tree_ticks(until_ns ? until_ns : from_ns + TREE_START_SLACK_NS);
}

static bool tree_is_older(const struct proc *p, const struct record *r)
{
	return p->start_ticks < tree_ticks(r->started_boot_ns);
}

/* The token that an environment names; 0 for that of a daemon which has left the op that started it
 * (daemon/leave_op.h), and for one older than the op, of a database before ours that counted up to
 * the same. False when it names none of ours; *ret is then unset. */
static bool tree_of_environ(const struct proc *of, uint64_t *ret, bool *ret_empty)
{
	const char *p;
	uint64_t run = 0, op = 0, attempt = 0, v;
	size_t len = proc_environ(of->pid, &p);
	*ret_empty = len == 0;
	for (size_t at = 0; at < len; at += strlen(p + at) + 1) {
		if (p[at] != 'B')
			continue;
		if (strcmp(p + at, "BATCHD_RUN=0") == 0) {
			*ret = 0;
			return true;
		}
		if ((v = tree_number(p + at, "BATCHD_RUN=")) != 0)
			run = v;
		if ((v = tree_number(p + at, "BATCHD_OP=")) != 0)
			op = v;
		if ((v = tree_number(p + at, "BATCHD_ATTEMPT=")) != 0)
			attempt = v;
	}
	if (run == 0 || op == 0 || attempt == 0)
		return false;
	uint64_t token = run << 32 | ((op - 1) & 0xfffff) << 12 | (attempt & 0xfff);
	uint32_t slot = table_find(token);
	/* Of an op that is gone: ours or not no longer matters, it is no living op's. */
	if (slot != TABLE_NONE && table_at(slot)->owner_hash != tree_owner_hash(p, len))
		return false;
	*ret = slot != TABLE_NONE && tree_is_older(of, table_at(slot)) ? 0 : token;
	return true;
}

/* The same, of the mark it carries and else the environment. A daemon has taken its mark off. */
static bool tree_of_names(const struct proc *of, uint64_t *ret, bool *ret_empty)
{
	struct op *op = tree_op(mark_token(of->pid));
	if (!op || tree_is_older(of, op_record(op)))
		return tree_of_environ(of, ret, ret_empty);
	*ret = op_record(op)->token;
	*ret_empty = false;
	return true;
}

static int64_t tree_patience_ms(int32_t pid, bool empty)
{
	return empty && proc_may_execute(pid) ? TREE_EXEC_PATIENCE_MS : TREE_PATIENCE_MS;
}

static void tree_attribute(struct orphan *o)
{
	struct proc st;
	bool first = live_in_look > 0 && !o->looked, empty = false;
	o->looked = o->looked || live_in_look > 0;
	if (!proc_stat(o->pid, &st))
		return;
	uint32_t slot = cgroup_of(o->pid);
	struct op *op = slot == UINT32_MAX || !op_is_live(op_at(slot)) ? NULL : op_at(slot);
	if (!op)
		op = tree_of_session(st.sid);
	if (!op)
		op = tree_of_session(st.pgrp);
	if (op || tree_of_names(&st, &o->owner, &empty)) {
		if (op)
			o->owner = op_record(op)->token;
		o->settled = true;
	} else if (first && live_in_look == 1 && !list_empty(closing)) {
		op = list_entry(closing->next, struct op, closing);
		o->owner = op_record(op)->token;
		o->settled = true;
	} else if (proc_is_dead(&st)) {
		return;
	} else if (time_mono_ms() - o->seen_ms < tree_patience_ms(o->pid, empty)) {
		unclear++;
	} else if (!o->told) {
		o->told = true;
		log_warn("process %d outlived the op that started it and does not say which; left "
			 "alone",
			 (int)o->pid);
	}
}

/* The orphan `pid`, its owner looked for; NULL when it is none, or there are too many to remember.
 */
static struct orphan *tree_orphan(int32_t pid)
{
	if (warm_is(pid) || warm_has(pid))
		return NULL;
	uint32_t node = pids_find(pid);
	if (node == PIDS_NONE && warm_is_asked()) { /* made this moment for an op, perhaps */
		unclear++;
		return NULL;
	}
	if (node == PIDS_NONE) {
		if (free_nodes != 0) {
			node = free_nodes - 1;
			free_nodes = orphans[node].next_free;
		} else if (end < PIDS_ORPHANS) {
			node = end++;
		} else {
			return NULL;
		}
		orphans[node] = (struct orphan){ .pid = pid, .seen_ms = time_mono_ms() };
		pids_add(pid, SW_CAPACITY + node);
	} else {
		node -= SW_CAPACITY;
	}
	struct orphan *o = &orphans[node];
	if (!o->settled)
		tree_attribute(o);
	return o;
}

void tree_reaped(int32_t pid)
{
	uint32_t node = pids_find(pid);
	if (node == PIDS_NONE || node < SW_CAPACITY)
		return;
	pids_remove(pid);
	orphans[node - SW_CAPACITY].pid = 0;
	orphans[node - SW_CAPACITY].next_free = free_nodes;
	free_nodes = node - SW_CAPACITY + 1;
}

uint32_t tree_look(uint32_t n_live)
{
	const int32_t *pids;
	unclear = 0;
	live_in_look = n_live;
	list_for (closing, at)
		list_entry(at, struct op, closing)->kin = 0;
	size_t n = proc_children(&pids);
	for (size_t i = 0; i < n; i++) {
		if (pids_find(pids[i]) < SW_CAPACITY || warm_has(pids[i]))
			continue;
		struct orphan *o = tree_orphan(pids[i]);
		struct op *op = o ? tree_op(o->owner) : NULL;
		if (op)
			op->kin++;
	}
	live_in_look = 0;
	return unclear;
}

void tree_signal_new(const struct op *op, int sig)
{
	uint64_t token = op_record(op)->token;
	for (uint32_t i = 0; i < end; i++) {
		struct orphan *o = &orphans[i];
		if (o->pid == 0 || o->owner != token || o->sent == sig || o->sent == SIGKILL)
			continue;
		o->sent = sig;
		kill(o->pid, sig);
	}
}

void tree_forget(void)
{
	for (uint32_t i = 0; i < end; i++) {
		orphans[i].owner = 0;
		orphans[i].settled = true;
	}
}

/* --- over an exec of ourselves --- */

uint32_t tree_save(struct tree_kin *ret)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < end; i++) {
		const struct orphan *o = &orphans[i];
		if (o->pid != 0)
			ret[n++] = (struct tree_kin){
				.pid = o->pid,
				.sent = o->sent,
				.owner = o->owner,
				.seen_ms = o->seen_ms,
				.flags = (o->settled ? TREE_SETTLED : 0) |
					 (o->looked ? TREE_LOOKED : 0) | (o->told ? TREE_TOLD : 0),
			};
	}
	return n;
}

void tree_restore(const struct tree_kin *kin, uint32_t n)
{
	for (end = 0; end < n && end < PIDS_ORPHANS; end++) {
		const struct tree_kin *k = &kin[end];
		orphans[end] = (struct orphan){
			.pid = k->pid,
			.sent = k->sent,
			.owner = k->owner,
			.seen_ms = k->seen_ms,
			.settled = k->flags & TREE_SETTLED,
			.looked = k->flags & TREE_LOOKED,
			.told = k->flags & TREE_TOLD,
		};
		pids_add(k->pid, SW_CAPACITY + end);
	}
}

/* --- the whole tree --- */

/* All processes as of this turn, and the token of the op that each belongs to (0: none). One look
 * serves every op of a turn. */
static const struct proc *all;
static uint64_t owners[PROC_MAX];
/* The token that each names which is not below us; looked for when first asked. */
static uint64_t named[PROC_MAX];
static bool executing[PROC_MAX]; /* or says nothing, as in the middle of an exec */
static size_t n_all;
static bool all_fresh, named_fresh;

void tree_turn(void)
{
	all_fresh = named_fresh = false;
}

/*
 * Climbs from process i to an op's own process or to an orphan. Parents mostly have lower pids, so
 * that their answer is there.
 */
static uint64_t tree_owner(size_t i)
{
	const struct proc *p = &all[i];
	for (unsigned depth = 0; p && p->pid > 1 && depth < 4096; depth++) {
		uint32_t node = pids_find(p->pid);
		if (node < SW_CAPACITY)
			return op_record(op_at(node))->token;
		if (p->ppid == self) {
			struct orphan *o = tree_orphan(p->pid);
			return o ? o->owner : 0;
		}
		p = proc_among(all, n_all, p->ppid);
		if (p && (size_t)(p - all) < i)
			return owners[p - all];
	}
	return 0;
}

static void tree_refresh(void)
{
	if (all_fresh)
		return;
	all_fresh = true;
	warm_settle(); /* else a child that nobody knows yet may be what it is just making */
	n_all = proc_all(&all);
	for (size_t i = 0; i < n_all; i++)
		owners[i] = tree_owner(i);
}

static void tree_read_names(void)
{
	if (named_fresh)
		return;
	named_fresh = true;
	for (size_t i = 0; i < n_all; i++) {
		uint64_t token;
		bool empty = false;
		named[i] = owners[i] == 0 && tree_of_names(&all[i], &token, &empty) ? token : 0;
		executing[i] = empty && !all[i].kernel && proc_may_execute(all[i].pid);
	}
}

/* Is the session of that number the op's? As long as any of its members lives the kernel gives the
 * number to nobody else. */
static bool tree_has_session(const struct record *r)
{
	const struct proc *p = proc_among(all, n_all, r->pid);
	return !p || tree_began(p, r->started_boot_ns, r->forked_boot_ns);
}

/* A foreign op's orphans are somebody else's children: their session tells, or their environment.
 */
static bool tree_owns(const struct op *op, size_t i)
{
	const struct record *r = op_record(op);
	if (proc_is_dead(&all[i]))
		return false;
	if (!op->foreign)
		return owners[i] == r->token;
	if (all[i].pid == r->pid || all[i].sid == r->pid)
		return tree_has_session(r);
	tree_read_names();
	return named[i] == r->token;
}

uint32_t tree_count(const struct op *op)
{
	uint32_t count = 0;
	tree_refresh();
	for (size_t i = 0; i < n_all; i++)
		count += tree_owns(op, i);
	return count;
}

uint32_t tree_unclear(const struct op *op)
{
	uint64_t since = tree_ticks(op_record(op)->started_boot_ns);
	uint32_t count = 0;
	tree_refresh();
	tree_read_names();
	for (size_t i = 0; i < n_all; i++)
		count += executing[i] && all[i].start_ticks >= since;
	return count;
}

static void tree_signal_one(const struct proc *p, int sig)
{
	uint32_t node = pids_find(p->pid);
	if (node != PIDS_NONE && node >= SW_CAPACITY)
		orphans[node - SW_CAPACITY].sent = sig;
	kill(p->pid, sig);
}

/*
 * The list is older than the signals by a moment; a pid cannot have gone round in it. The op's own
 * group goes first and at once, so that a parent and its child (bash and what it waits for) hear of
 * it together.
 */
uint32_t tree_signal(const struct op *op, int sig)
{
	const struct record *r = op_record(op);
	uint32_t count = 0;
	tree_refresh();
	if (sig == SIGKILL)
		cgroup_kill(op_slot(op));
	bool own = !op->reaped && !op->foreign && r->pid > 1;
	bool group = own && kill(-r->pid, sig) == 0;
	if (own && !group)
		kill(r->pid, sig); /* has not come to setsid yet */
	for (size_t i = 0; i < n_all; i++) {
		if (!tree_owns(op, i))
			continue;
		count++;
		if (own ? all[i].pid != r->pid && !(group && all[i].pgrp == r->pid) : true)
			tree_signal_one(&all[i], sig);
		if (sig != SIGKILL && all[i].state == 'T')
			kill(all[i].pid, SIGCONT);
	}
	return count;
}

bool tree_same_process(int32_t pid, int64_t from_ns, int64_t until_ns)
{
	struct proc st;
	return pid > 1 && proc_stat(pid, &st) && !proc_is_dead(&st) &&
	       tree_began(&st, from_ns, until_ns);
}

bool tree_is_process_of(const struct record *r)
{
	return tree_same_process(r->pid, r->started_boot_ns, r->forked_boot_ns);
}

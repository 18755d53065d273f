/*
 * What batchd-spawner says to batchd, as any bytes: packets, each after two bytes of its length (0:
 * the connection ends, and the next begins) and one that says what batchd does then. The connection
 * and the executor are batchd's own. An attempt ends once at most, and only one that it knows; what
 * batchd says is whole frames; and batchd can be ended at any moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/paths.h"
#include "daemon/exec/exec.h"
#include "proto/spawn_wire.h"
#include "tests/fuzz/fuzz.h"

#define TOKENS 4 /* 1 to 4, of which batchd starts some; the spawner may speak of any */

enum life { LIFE_NONE, LIFE_STARTED, LIFE_ENDED };

static struct {
	const uint8_t *data;
	size_t size, at;
	int peer;    /* the spawner's side */
	bool polite; /* each connection begins as it should */
	uint64_t can;
	uint64_t drained[TOKENS]; /* attached and to be finished: told after the turn */
	unsigned n_drained;
	enum life tokens[TOKENS + 1];
	unsigned connections;
} w;

/* --- the spawner --- */

static void spawner_says(const void *p, size_t len)
{
	if (len > 0 && send(w.peer, p, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		HOLDS(errno == EAGAIN || errno == EPIPE || errno == ENOBUFS);
}

static void spawner_greets(void)
{
	const struct sw_hello_ok ok = { .head = { sizeof(ok), SW_HELLO_OK, SW_VERSION, w.can },
					.protocol = SW_PROTOCOL,
					.pid = INT32_MAX,
					.capacity = 8,
					.table_id = 1 };
	spawner_says(&ok, sizeof(ok));
}

static void spawner_has_told_all(void)
{
	static const struct sw_head end = { sizeof(end), SW_KNOWN_END, SW_VERSION, 0 };
	spawner_says(&end, sizeof(end));
}

/* The next packet of the script; false: its connection ends here. */
static bool spawner_speaks(uint8_t *ret_then)
{
	_Alignas(8) char packet[65536];
	if (w.size - w.at < 3)
		return false;
	size_t len = w.data[w.at] | (size_t)w.data[w.at + 1] << 8;
	*ret_then = w.data[w.at + 2];
	w.at += 3;
	if (len > w.size - w.at)
		len = w.size - w.at;
	memcpy(packet, w.data + w.at, len);
	w.at += len;
	spawner_says(packet, len);
	return len > 0;
}

/* The link connects: what is said at once is there already, so that nobody waits for it. */
int __wrap_unix_connect(const char *path, int type);
int __wrap_unix_connect(const char *path, int type)
{
	int pair[2];
	uint8_t then;
	(void)path;
	HOLDS(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	if (w.peer >= 0)
		close(w.peer);
	w.peer = pair[0];
	bool first = w.connections++ == 0;
	if (w.polite || first)
		spawner_greets();
	if (first) /* while batchd recovers: up to the first packet of no bytes */
		while (spawner_speaks(&then))
			;
	if (w.polite || first)
		spawner_has_told_all();
	return pair[1];
}

/* --- what batchd says --- */

static void check_said(void)
{
	static char bytes[SW_PACKET_BYTES] __attribute__((aligned(8)));
	ssize_t n;
	while (w.peer >= 0 && (n = recv(w.peer, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		for (size_t at = 0; at < (size_t)n;) {
			const struct sw_head *f = (const struct sw_head *)(bytes + at);
			HOLDS((size_t)n - at >= sizeof(*f) && f->size <= (size_t)n - at &&
			      f->size >= sizeof(*f) && f->size % 8 == 0);
			HOLDS(f->version == SW_VERSION && f->type >= SW_HELLO &&
			      f->type <= SW_STAGE);
			at += f->size;
		}
}

/* --- the engine --- */

static struct exec_local *x;

/* Pipes of which nothing comes. */
void __wrap_output_attach(struct output *o, uint64_t token, const int fds[3], int64_t cap);
void __wrap_output_attach(struct output *o, uint64_t token, const int fds[3], int64_t cap)
{
	(void)o;
	(void)token;
	(void)cap;
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void __wrap_output_finish(struct output *o, uint64_t token);
void __wrap_output_finish(struct output *o, uint64_t token)
{
	(void)o;
	if (w.n_drained < TOKENS)
		w.drained[w.n_drained++] = token;
}

void __wrap_output_hurry(struct output *o, uint64_t token);
void __wrap_output_hurry(struct output *o, uint64_t token)
{
	(void)o, (void)token;
}

void __wrap_output_stage_kept(struct output *o, uint64_t token, bool kept);
void __wrap_output_stage_kept(struct output *o, uint64_t token, bool kept)
{
	(void)o, (void)token, (void)kept;
}

bool __wrap_output_finish_silent(struct output *o, uint64_t token);
bool __wrap_output_finish_silent(struct output *o, uint64_t token)
{
	(void)o;
	return token % 2;
}

static void tell_drained(void)
{
	static const struct output_totals none;
	while (w.n_drained > 0)
		exec_local_drained(x, w.drained[--w.n_drained], &none);
}

static enum life *life_of(uint64_t token)
{
	return &w.tokens[token <= TOKENS ? token : 0];
}

static void on_started(void *arg, uint64_t token, int32_t pid, int64_t wall_ms)
{
	(void)arg;
	(void)pid;
	(void)wall_ms;
	HOLDS(*life_of(token) == LIFE_STARTED);
}

static void on_ended(void *arg, const struct exec_result *r)
{
	(void)arg;
	HOLDS(r->token == 0 || r->token > TOKENS || *life_of(r->token) == LIFE_STARTED);
	HOLDS(!r->start_step == (r->start_errno == 0) || r->start_step);
	*life_of(r->token) = LIFE_ENDED;
	if (r->wait_status & 0x100)
		exec_local_ack(x, r->token);
}

static void on_busy(void *arg, uint64_t token)
{
	(void)arg;
	HOLDS(*life_of(token) == LIFE_STARTED || token == 0 || token > TOKENS);
	*life_of(token) = LIFE_NONE;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_known(void *arg, const struct exec_known *k)
{
	(void)arg;
	*life_of(k->token) = LIFE_STARTED;
	if (k->ended && k->pid == 1)
		exec_local_ack(x, k->token);
}

static int64_t cap_of(void *arg, uint64_t token)
{
	(void)arg;
	return (int64_t)token;
}

static void act(uint8_t what)
{
	uint64_t token = what % TOKENS + 1;
	const struct exec_spec spec = {
		.token = token, .cwd = "/", .argv = slice_of("true", 5), .argc = 1, .env_file = ""
	};
	switch (what / TOKENS % 5) {
	case 0:
		if (*life_of(token) == LIFE_NONE && exec_local_start(x, &spec) == 0)
			*life_of(token) = LIFE_STARTED;
		break;
	case 1:
		exec_local_stop(x, token, what, what);
		break;
	case 2:
		exec_local_signal(x, token, what);
		break;
	case 3:
		if (*life_of(token) == LIFE_ENDED)
			exec_local_ack(x, token);
		break;
	case 4:
		exec_local_env_done(x, token);
		break;
	}
}

static void play(struct event_base *base)
{
	uint8_t then = 0;
	while (w.at < w.size) {
		bool on = spawner_speaks(&then);
		act(then);
		if (!on && w.peer >= 0)
			shutdown(w.peer, SHUT_WR);
		event_base_loop(base, EVLOOP_NONBLOCK);
		tell_drained();
		check_said();
		if (w.size - w.at < 3)
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct err e = ERR_INIT;
	if (!base) {
		log_init("fuzz", LOG_ERROR - 1);
		base = event_base_new();
		event_base_priority_init(base, 3);
	}
	if (size < 1)
		return 0;
	memset(&w, 0, sizeof(w));
	w.data = data + 1;
	w.size = size - 1;
	w.peer = -1;
	w.polite = data[0] & 1;
	w.can = data[0] & 2 ? SW_CAN_KEEP : SW_CAN;
	const struct exec_local_config config = { .base = base,
						  .socket = "/nowhere",
						  .events = { on_started, on_ended, on_busy, NULL },
						  .respawned = on_nothing,
						  .gone = on_nothing };
	if (exec_local_new(&config, &x, &e) == 0) {
		exec_local_recover(x, on_known, cap_of, NULL);
		play(base);
		exec_local_free(x);
	}
	check_said();
	if (w.peer >= 0)
		close(w.peer);
	return 0;
}

/*
 * Asks the same again and again: load SOCKET CONNECTIONS REQUESTS REQUEST_FILE REPLY_BYTES
 *
 * Every connection has one request on its way at a time, always the bytes of REQUEST_FILE, and
 * takes the next REPLY_BYTES for its answer: nothing is packed or unpacked here, so that the client
 * is not what is measured. Prints requests a second and the median, the 99th percentile and the
 * longest wait in ns. Too slow an answer (10 s) is an error.
 *
 * With REQUESTS 0 it asks once on each connection, prints `ready` when the first answer is there on
 * all of them, reads what comes until its stdin ends, and prints how many bytes came after that.
 */
#include <err.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000

struct peer {
	int fd;
	size_t got; /* bytes of the answer so far */
	int64_t asked;
};

static char request[65536];
static size_t request_bytes, reply_bytes;
static int64_t *waits;
static int n_waits;

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void request_load(const char *path)
{
	FILE *f = fopen(path, "re");

	if (f == NULL)
		err(1, "%s", path);
	request_bytes = fread(request, 1, sizeof(request), f);
	fclose(f);
}

static void peer_ask(struct peer *p)
{
	p->got = 0;
	p->asked = now();
	if (send(p->fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
		err(1, "send");
}

static void peer_connect(struct peer *p, const char *path, int poll_fd)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = p };

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    epoll_ctl(poll_fd, EPOLL_CTL_ADD, p->fd, &e) < 0)
		err(1, "%s", path);
}

static size_t peer_read(struct peer *p)
{
	static char bytes[1 << 20];
	ssize_t n = recv(p->fd, bytes, sizeof(bytes), 0);

	if (n <= 0)
		err(1, "the connection ended");
	p->got += n;
	return n;
}

/* More of an answer; asks again as long as `left` says so. */
static void peer_answered(struct peer *p, int *left)
{
	peer_read(p);
	if (p->got < reply_bytes)
		return;
	if (p->got > reply_bytes)
		errx(1, "an answer of more than %zu bytes", reply_bytes);
	waits[n_waits++] = now() - p->asked;
	if (*left > 0) {
		(*left)--;
		peer_ask(p);
	}
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void load_run(struct peer *peers, int n_peers, int requests, int poll_fd)
{
	struct epoll_event events[64];
	int64_t begun = now();
	int left = requests > n_peers ? requests - n_peers : 0;

	waits = calloc(requests + n_peers, sizeof(*waits));
	for (int i = 0; i < n_peers; i++)
		peer_ask(&peers[i]);
	for (int total = left + n_peers; n_waits < total;) {
		int n = epoll_wait(poll_fd, events, 64, PATIENCE_MS);

		if (n <= 0)
			errx(1, "no answer in %d ms", PATIENCE_MS);
		for (int i = 0; i < n; i++)
			peer_answered(events[i].data.ptr, &left);
	}
	double seconds = (double)(now() - begun) / 1e9;

	qsort(waits, n_waits, sizeof(*waits), by_size);
	printf("%.1f %jd %jd %jd\n", n_waits / seconds, (intmax_t)waits[n_waits / 2],
	       (intmax_t)waits[(int)(n_waits * 0.99)], (intmax_t)waits[n_waits - 1]);
}

static void load_follow(struct peer *peers, int n_peers, int poll_fd)
{
	struct epoll_event events[64], in = { .events = EPOLLIN };
	bool ended = false;
	size_t bytes = 0;

	for (int i = 0; i < n_peers; i++) {
		peer_ask(&peers[i]);
		peer_read(&peers[i]);
	}
	puts("ready");
	fflush(stdout);
	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &in) < 0)
		err(1, "stdin must be a pipe");
	while (!ended) {
		int n = epoll_wait(poll_fd, events, 64, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				ended = true;
			else
				bytes += peer_read(events[i].data.ptr);
		}
	}
	printf("%zu\n", bytes);
}

int main(int argc, char **argv)
{
	if (argc != 6)
		errx(2, "usage: load SOCKET CONNECTIONS REQUESTS REQUEST_FILE REPLY_BYTES");
	int n_peers = atoi(argv[2]), requests = atoi(argv[3]);
	int poll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct peer *peers = calloc(n_peers, sizeof(*peers));

	request_load(argv[4]);
	reply_bytes = strtoul(argv[5], NULL, 10);
	for (int i = 0; i < n_peers; i++)
		peer_connect(&peers[i], argv[1], poll_fd);
	if (requests > 0)
		load_run(peers, n_peers, requests, poll_fd);
	else
		load_follow(peers, n_peers, poll_fd);
	return 0;
}

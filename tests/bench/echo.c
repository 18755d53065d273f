/*
 * The limit of answering over a socket with libevent: echo SOCKET REQUEST_BYTES REPLY_BYTES
 *
 * Each REQUEST_BYTES that come are answered by REPLY_BYTES that mean nothing. Runs until it is
 * ended.
 */
#include <err.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static size_t request_bytes, reply_bytes;
static char *reply;

static void echo_read(struct bufferevent *b, void *data)
{
	struct evbuffer *in = bufferevent_get_input(b);

	(void)data;
	for (; evbuffer_get_length(in) >= request_bytes; evbuffer_drain(in, request_bytes))
		bufferevent_write(b, reply, reply_bytes);
}

static void echo_event(struct bufferevent *b, short what, void *data)
{
	(void)data;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(b);
}

static void echo_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
			void *base)
{
	struct bufferevent *b = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)l, (void)sa, (void)len;
	bufferevent_setcb(b, echo_read, NULL, echo_event, NULL);
	bufferevent_enable(b, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct event_base *base = event_base_new();

	if (argc != 4)
		errx(2, "usage: echo SOCKET REQUEST_BYTES REPLY_BYTES");
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", argv[1]);
	request_bytes = strtoul(argv[2], NULL, 10);
	reply_bytes = strtoul(argv[3], NULL, 10);
	reply = calloc(1, reply_bytes);
	signal(SIGPIPE, SIG_IGN);
	if (request_bytes == 0 || reply == NULL || base == NULL ||
	    !evconnlistener_new_bind(base, echo_accept, base, LEV_OPT_CLOSE_ON_FREE, 128,
				     (struct sockaddr *)&at, sizeof(at)))
		err(1, "%s", argv[1]);
	return event_base_dispatch(base);
}

/*
 * systemd's two small protocols, without its library: readiness (sd_notify(3)) and socket
 * activation (sd_listen_fds(3)).
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdbool.h>

/* Takes NOTIFY_SOCKET out of the environment, so that nothing we start speaks in our name; true:
 * there is somebody to tell. */
bool notify_take(void);
/* Is there somebody to tell? */
bool notify_wanted(void);
/* Sends "READY=1" and the like to NOTIFY_SOCKET if there is one; a datagram that cannot be sent is
 * nobody's loss. */
void notify_send(const char *state);
/* The first fd passed by socket activation (close-on-exec set), or -1; takes the variables out of
 * the environment. */
int notify_listen_fd(void);

#endif

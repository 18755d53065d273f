/*
 * Functions that invite overruns are banned by the compiler (included on every compile line, after
 * the system's own headers are done with them): use snprintf, buf_*, memcpy with a known length.
 */
#ifndef COMMON_BANNED_H
#define COMMON_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok system tmpnam mktemp

#endif

#include "client/dispatch.h"
#include "common/fd.h"

int main(int argc, char **argv)
{
	fd_open_std();
	return client_main(argc, argv);
}

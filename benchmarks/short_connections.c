/* Short connections at a pace, all in this process: what is left of a CPU is left to who watches them.
 *
 *     short_connections PORT CONNECTIONS RATE
 *
 * Each goes to one of 64 loopback addresses, asks with 100 bytes, is answered with 1,000 and closed; client and
 * server take turns in closing first. The one that does only shuts its side down until the other has closed,
 * so that where no room is left for a remnant the last acknowledgement has been sent all the same.
 * Prints connections, CPU nanoseconds, nanoseconds on the clock; ends by itself at the latest after 300 s.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESSES 64
#define ASKED 100
#define ANSWERED 1000

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static long long now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void expect(int fd, char *room, ssize_t size)
{
    for (ssize_t got = 0; got < size;) {
        ssize_t more = recv(fd, room, ANSWERED, 0);
        check(more > 0, "recv");
        got += more;
    }
}

static void finish(int first, int second, char *room)
{
    check(shutdown(first, SHUT_WR) == 0, "shutdown");
    check(recv(second, room, ANSWERED, 0) == 0, "end");
    check(close(second) == 0, "close");
    check(close(first) == 0, "close");
}

int main(int count, char **words)
{
    check(count == 4, "PORT CONNECTIONS RATE");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    long long connections = atoll(words[2]), rate = atoll(words[3]);
    static char room[ANSWERED];
    alarm(300);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0, "reuse");
    check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(listener, 128) == 0, "listen");
    long long began = now(CLOCK_MONOTONIC);
    for (long long made = 0; made < connections; made++) {
        long long due = began + made * 1000000000LL / rate;
        struct timespec until = {due / 1000000000LL, due % 1000000000LL};
        /* In batches of a millisecond: to sleep before each would cost more than to connect. */
        if (made % (1 + rate / 1000) == 0)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int client = socket(AF_INET, SOCK_STREAM, 0);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (made % ADDRESSES << 8));
        check(connect(client, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        int server = accept(listener, NULL, NULL);
        check(server >= 0, "accept");
        check(send(client, room, ASKED, 0) == ASKED, "send");
        expect(server, room, ASKED);
        check(send(server, room, ANSWERED, 0) == ANSWERED, "send");
        expect(client, room, ANSWERED);
        if (made % 2)
            finish(server, client, room);
        else
            finish(client, server, room);
    }
    printf("%lld %lld %lld\n", connections, now(CLOCK_PROCESS_CPUTIME_ID), now(CLOCK_MONOTONIC) - began);
    return 0;
}

/* The least that reading all TCP sockets can cost: ask for the dump that sockrec asks for, receive it,
   throw it away. Prints the CPU nanoseconds of each of argv[1] dumps, and the bytes received. */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[256 << 10];

static long long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long dump(int fd) {
    struct { struct nlmsghdr head; struct inet_diag_req body; } request;
    long long bytes = 0;
    memset(&request, 0, sizeof request);
    request.head.nlmsg_len = sizeof request;
    request.head.nlmsg_type = TCPDIAG_GETSOCK;
    request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.body.idiag_family = AF_UNSPEC;
    request.body.idiag_ext =
        1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_VEGASINFO - 1) | 1 << (INET_DIAG_CONG - 1)
        | 1 << (INET_DIAG_SKMEMINFO - 1);
    request.body.idiag_states = 0xffffffff;
    if (send(fd, &request, sizeof request, 0) < 0) { perror("send"); exit(1); }
    for (;;) {
        ssize_t size = recv(fd, buffer, sizeof buffer, 0);
        struct nlmsghdr *head = (struct nlmsghdr *)buffer;
        /* The end may ride on the last data: 16 bytes of header and 4 of status. */
        struct nlmsghdr *last = (struct nlmsghdr *)(buffer + size - 20);
        if (size < 16) { perror("recv"); exit(1); }
        bytes += size;
        if (head->nlmsg_type == NLMSG_ERROR) { fprintf(stderr, "the kernel refused the dump\n"); exit(1); }
        if (head->nlmsg_type == NLMSG_DONE) return bytes;
        if (size >= 36 && last->nlmsg_len == 20 && last->nlmsg_type == NLMSG_DONE) return bytes;
    }
}

int main(int count, char **words) {
    int times = count > 1 ? atoi(words[1]) : 1;
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG), room = 1 << 20;
    if (fd < 0) { perror("socket"); return 1; }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    for (int i = 0; i < times; i++) {
        long long before = cpu_ns(), bytes = dump(fd);
        printf("%lld %lld\n", cpu_ns() - before, bytes);
    }
    return 0;
}

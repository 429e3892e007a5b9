/* A disk that fails or a process that dies at the n-th write, fsync, rename or truncation.

   Loaded with LD_PRELOAD by tests/faults.py. Counts only calls on files below a folder,
   whichever library makes them, so that those inside safetensors (Rust) count too.
   mode 0 counts, 1 kills the process before the call, 2 lets half of a write through
   and then kills, 3 fails the call and every later one with "no space left on device".
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static int mode = 0, armed = 0;
static long target = -1, calls = 0;

void faults_arm(const char *below, int how, long at) {
    snprintf(folder, sizeof folder, "%s", below);
    mode = how; target = at; calls = 0; armed = 1;
}

long faults_calls(void) { return calls; }
void faults_disarm(void) { armed = 0; }

static int below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* 0: go on; 1: fail with ENOSPC; 2: half a write, then die. */
static int reached(int is_write) {
    calls++;
    if (mode == 3 && calls >= target) return 1;
    if (calls != target) return 0;
    if (mode == 1) kill(getpid(), SIGKILL);
    if (mode == 2) { if (is_write) return 2; kill(getpid(), SIGKILL); }
    return 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (armed && below(fd)) {
        int what = reached(1);
        if (what == 1) { errno = ENOSPC; return -1; }
        if (what == 2) { if (real(fd, data, size / 2) >= 0) kill(getpid(), SIGKILL); }
    }
    return real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (armed && below(fd)) {
        int what = reached(1);
        if (what == 1) { errno = ENOSPC; return -1; }
        if (what == 2) { if (real(fd, parts, count / 2) >= 0) kill(getpid(), SIGKILL); }
    }
    return real(fd, parts, count);
}

int fsync(int fd) {
    REAL(fsync);
    if (armed && below(fd) && reached(0) == 1) { errno = ENOSPC; return -1; }
    return real(fd);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (armed && below(fd) && reached(0) == 1) { errno = ENOSPC; return -1; }
    return real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (armed && strncmp(to, folder, strlen(folder)) == 0 && reached(0) == 1) {
        errno = ENOSPC; return -1;
    }
    return real(from, to);
}

int unlinkat(int fd, const char *path, int flags) {
    REAL(unlinkat);
    if (armed && below(fd)) reached(0); /* removing frees space: it can be killed, not fail */
    return real(fd, path, flags);
}

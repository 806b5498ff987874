/* LD_PRELOAD: writes down, in order, what a process does to the files under $RECORD_DIR, so that a power cut can be played at any
 * point of it. One record in $RECORD_LOG: operation, length of the path, offset, size (1 + 3 x 8 bytes), path, data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int under(const char *path) {
    const char *directory = getenv("RECORD_DIR");
    return directory && strncmp(path, directory, strlen(directory)) == 0;
}

static void record(char operation, const char *path, uint64_t offset, const void *data, uint64_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    int log = open(getenv("RECORD_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    uint64_t numbers[3] = {strlen(path), offset, size};
    pthread_mutex_lock(&lock);
    real(log, &operation, 1);
    real(log, numbers, sizeof numbers);
    real(log, path, numbers[0]);
    if (data) real(log, data, size);
    pthread_mutex_unlock(&lock);
    close(log);
}

static void record_file(char operation, int file, uint64_t offset, const void *data, uint64_t size) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    if (under(path)) record(operation, path, offset, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    ssize_t done = real(file, data, size, offset);
    if (done > 0) record_file('w', file, (uint64_t)offset, data, (uint64_t)done);
    return done;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) { return pwrite64(file, data, size, offset); }

int ftruncate64(int file, off64_t size) {
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    int done = real(file, size);
    if (done == 0) record_file('t', file, (uint64_t)size, NULL, 0);
    return done;
}

int ftruncate(int file, off_t size) { return ftruncate64(file, size); }

int fsync(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int done = real(file);
    if (done == 0) record_file('s', file, 0, NULL, 0);
    return done;
}

int fdatasync(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int done = real(file);
    if (done == 0) record_file('s', file, 0, NULL, 0);
    return done;
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    int done = real(path);
    if (done == 0 && under(path)) record('u', path, 0, NULL, 0);
    return done;
}

/* What the test itself says: a request was acknowledged. */
void record_note(uint64_t number) { record('a', getenv("RECORD_DIR"), number, NULL, 0); }

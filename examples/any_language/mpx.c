#define _POSIX_C_SOURCE 200809L

#include "mpx.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

#ifndef PIPE_BUF
#define PIPE_BUF _POSIX_PIPE_BUF
#endif

enum {
    CHUNK = 1 << 16,       /* bytes to read at once */
    LOOK_MS = 50,          /* between two looks for another manager */
    MANY = 1000,           /* messages to keep before one asks for an ack */
    PIECE = PIPE_BUF - 64, /* of a message, beside its tag */
};

/* What was sent and may not be on record, oldest first. */
struct message {
    struct message *next;
    long seq;
    char json[];
};

static int in, out;           /* the two pipes */
static char session[64];      /* whose numbers these are */
static long seq;              /* of the last message */
static struct message *kept;  /* all that is not on record */
static int kept_count;        /* how many these are */
static bool assessed;         /* there is an assessor */
static double max_line = 512; /* the longest message, in bytes; the hello is shorter than this */
static char *line;            /* what the manager said last, one message */
static char *parameters;      /* of the open phase */

static void give_up(const char *reason, const char *which)
{
    fprintf(stderr, "mpx: %s%s\n", reason, which);
    exit(1);
}

static void *room(void *old, size_t size)
{
    void *found = realloc(old, size);
    if (found == NULL)
        give_up("out of memory", "");
    return found;
}

/* Return an environment variable that the manager sets. */
static const char *given(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL)
        give_up("not started by mpx, which would have set ", name);
    return value;
}

/* Return the path of a file in the trial's directory; it stays until the next call. */
static const char *in_trial_directory(const char *name, const char *suffix)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", given("MPX_TRIAL_DIR"), name, suffix);
    return path;
}

static int opened(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        give_up("cannot open ", path);
    return fd;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- To the manager --- */

static void orphaned(void);

/* Write a line at once, up to PIPE_BUF bytes; wait for room. */
static void write_line(int fd, const char *text, size_t length)
{
    double deadline = seconds_now() + atof(given("MPX_ORPHAN_TIMEOUT"));
    while (length > 0) {
        struct pollfd room_to_write = {.fd = fd, .events = POLLOUT};
        if (poll(&room_to_write, 1, LOOK_MS) == 0 && seconds_now() > deadline)
            orphaned();
        if (room_to_write.revents == 0)
            continue;
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno != EINTR && errno != EAGAIN)
            give_up("cannot write: ", strerror(errno));
        if (written > 0)
            text += written, length -= (size_t)written;
    }
}

/* Write a message: a line, or if that is too long for one write, several pieces. */
static void write_message(int fd, const char *json)
{
    size_t length = strlen(json), pieces = (length + PIECE - 1) / PIECE;
    char text[PIPE_BUF], tag[48] = "";
    for (size_t piece = 1; piece <= pieces; piece++) {
        if (pieces > 1)
            snprintf(tag, sizeof tag, ":%zu/%zu", piece, pieces);
        int size = snprintf(text, sizeof text, "\n@mpx%s %.*s\n", tag, (int)PIECE, json);
        write_line(fd, text, (size_t)size);
        json += PIECE;
    }
}

/* The wait for another manager was in vain: leave what is not on record to a later one, and end. */
static void orphaned(void)
{
    char draft[PATH_MAX];
    strcpy(draft, in_trial_directory("draft.", session));
    int fd = opened(draft, O_WRONLY | O_CREAT | O_TRUNC);
    for (struct message *each = kept; each != NULL; each = each->next)
        write_message(fd, each->json);
    const char *unsent = in_trial_directory("unsent.", session);
    if (fsync(fd) != 0 || close(fd) != 0 || rename(draft, unsent) != 0)
        give_up("cannot write ", draft);
    give_up("the manager is gone", "");
}

/* Send a message of this type, and keep it until it is on record. */
static void say(const char *type, const char *fields)
{
    struct message **last = &kept;
    while (*last != NULL)
        last = &(*last)->next;
    size_t size = strlen(type) + strlen(fields) + 64;
    *last = room(NULL, sizeof **last + size);
    (*last)->next = NULL;
    (*last)->seq = ++seq;
    snprintf((*last)->json, size, "{\"type\":\"%s\",\"seq\":%ld%s}", type, seq, fields);
    kept_count++;
    write_message(out, (*last)->json);
}

/* --- From the manager --- */

/* Read a line. At the end of file, which is the death of a manager, drop half a line and try again. */
static void read_line(void)
{
    static char *text;                /* what was read, */
    static size_t used, size, behind; /* its length, its room, and where the last line ends in it */
    used -= behind;
    if (used > 0)
        memmove(text, text + behind, used);
    double deadline = 0;
    for (size_t seen = 0;;) {
        char *newline = used > seen ? memchr(text + seen, '\n', used - seen) : NULL;
        if (newline != NULL) {
            *newline = '\0';
            line = text;
            behind = (size_t)(newline - text) + 1;
            return;
        }
        seen = used;
        if (size - used < CHUNK)
            text = room(text, size = 2 * size + CHUNK);
        ssize_t count = read(in, text + used, CHUNK);
        if (count > 0) {
            used += (size_t)count;
            deadline = 0;
        } else if (count == 0) {
            used = seen = 0;
            if (deadline == 0)
                deadline = seconds_now() + atof(given("MPX_ORPHAN_TIMEOUT"));
            else if (seconds_now() > deadline)
                orphaned();
            poll(NULL, 0, LOOK_MS);
        } else if (errno != EINTR)
            give_up("cannot read: ", strerror(errno));
    }
}

static long number_of_line(void)
{
    double number;
    return json_number(line, "seq", &number) ? (long)number : -1;
}

/* Forget what is on record. */
static void forget(long recorded)
{
    while (kept != NULL && kept->seq <= recorded) {
        struct message *oldest = kept;
        kept = oldest->next;
        kept_count--;
        free(oldest);
    }
}

/* Take a welcome: the answer to the hello, or another manager's, who must be told the rest again. */
static void take_welcome(void)
{
    char whose[sizeof session];
    if (json_string(line, "session", whose, sizeof whose) && strcmp(whose, session) == 0)
        forget(number_of_line());
    for (struct message *each = kept; each != NULL; each = each->next)
        write_message(out, each->json);
}

/* Read on until the last message is answered by one of two types, or an error. Return the type. */
static const char *hear(const char *one, const char *other)
{
    static char type[16];
    for (;;) {
        read_line();
        if (!json_string(line, "type", type, sizeof type))
            continue;
        bool wanted = strcmp(type, one) == 0 || strcmp(type, other) == 0;
        if (strcmp(type, "welcome") == 0)
            take_welcome();
        else if (wanted || strcmp(type, "ack") == 0)
            forget(number_of_line());
        else if (strcmp(type, "error") == 0) {
            char message[512] = "error";
            json_string(line, "message", message, sizeof message);
            fprintf(stderr, "mpx: %s\n", message);
            wanted = true;
        }
        if (wanted && number_of_line() == seq)
            return type;
    }
}

/* --- What a trial calls --- */

static bool same_file(int fd, int other)
{
    struct stat one, two;
    bool known = fstat(fd, &one) == 0 && fstat(other, &two) == 0;
    return known && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* Leave a file to children and prints where a standard stream is one of the two pipes. */
static void redirect(int fd, int pipe, const char *path, int flags)
{
    if (same_file(fd, pipe)) {
        int elsewhere = opened(path, flags);
        dup2(elsewhere, fd);
        close(elsewhere);
    }
}

/* See to it that no other process of the trial speaks, until this one ends. */
static void become_owner(void)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(opened(in_trial_directory("owner", ""), O_RDWR | O_CREAT), F_SETLK, &whole) != 0)
        give_up("another process of this trial asks for its phases already", "");
}

void mpx_start(void)
{
    become_owner();
    in = opened(in_trial_directory("stdin", ""), O_RDONLY | O_NONBLOCK); /* waits for nobody */
    fcntl(in, F_SETFL, fcntl(in, F_GETFL) & ~O_NONBLOCK);
    out = opened(in_trial_directory("stdout", ""), O_WRONLY);
    fflush(stdout);
    redirect(0, in, "/dev/null", O_RDONLY);
    redirect(1, out, in_trial_directory("trial.log", ""), O_WRONLY | O_APPEND);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long pid = getpid();
    snprintf(session, sizeof session, "c%ldx%ldx%ld", pid, (long)now.tv_sec, now.tv_nsec);
    char fields[256];
    snprintf(fields, sizeof fields,
             ",\"session\":\"%s\",\"resend\":true,\"protocol\":1,\"sdk\":\"c\",\"pid\":%ld", session, pid);
    say("hello", fields);
    while (kept != NULL)
        hear("welcome", "");
    const char *assessor = json_member(line, "assessor");
    assessed = assessor != NULL && *assessor == 't';
    json_number(line, "max_line", &max_line);
}

const char *mpx_next(void)
{
    say("request", "");
    const char *answer = hear("parameters", "no_more");
    if (strcmp(answer, "no_more") == 0)
        return NULL;
    const char *value = json_member(line, "parameters");
    if (value == NULL)
        give_up("the request was not answered by parameters", "");
    size_t length = (size_t)(json_end(value) - value);
    parameters = room(parameters, length + 1);
    memcpy(parameters, value, length);
    parameters[length] = '\0';
    return parameters;
}

/* Send a report with one JSON value. Return NULL, or why it cannot be sent. */
static const char *report(const char *type, const char *name, const char *value, const char *asks)
{
    const char *end = json_end(value);
    if (end == NULL || end[strspn(end, " \t\r\n")] != '\0')
        return "a result is not JSON";
    size_t length = strlen(value);
    if ((double)length + 128 > max_line)
        return "a result is longer than maxLineLength allows";
    char *fields = room(NULL, length + 64);
    sprintf(fields, ",\"%s\":%s%s", name, value, asks);
    for (char *at = fields; (at = strpbrk(at, "\r\n")) != NULL;)
        *at = ' ';
    say(type, fields);
    free(fields);
    return NULL;
}

bool mpx_intermediate(const char *value)
{
    const char *asks = assessed ? ",\"verdict\":true" : kept_count >= MANY ? ",\"ack\":true" : "";
    const char *reason = report("intermediate", "value", value, asks);
    if (reason != NULL) {
        fprintf(stderr, "mpx: %s\n", reason);
        return false;
    }
    if (*asks == '\0' || strcmp(hear("verdict", "ack"), "verdict") != 0)
        return false;
    const char *stop = json_member(line, "stop");
    return stop != NULL && *stop == 't';
}

bool mpx_final(const char *value)
{
    const char *reason = report("final", "value", value, "");
    if (reason != NULL) {
        fprintf(stderr, "mpx: %s\n", reason);
        mpx_failed("ValueError", reason);
        return false;
    }
    return strcmp(hear("ack", ""), "ack") == 0;
}

void mpx_failed(const char *type, const char *message)
{
    char *error = room(NULL, 6 * (strlen(type) + strlen(message)) + 64), *at = error;
    at += sprintf(at, "{\"type\":");
    at += strlen(json_from_string(at, type));
    at += sprintf(at, ",\"message\":");
    at += strlen(json_from_string(at, message));
    strcpy(at, ",\"traceback\":\"\"}");
    const char *reason = report("failed", "error", error, "");
    free(error);
    if (reason == NULL)
        hear("ack", "");
    else
        mpx_failed(type, reason); /* instead of a message that is too long */
}

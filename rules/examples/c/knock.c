/* 7000/udp, and within five seconds a SYN at 7001/tcp: the first door opens. */
#include "postern_text.h"

static const postern_watch watches[] = {
    {POSTERN_UDP, 7000, 7000, 0, 0},
    {POSTERN_TCP, 7001, 7001, POSTERN_SYN, POSTERN_ACK},
};

/* Microseconds that a client has between the two. */
static uint64_t within = 5 * 1000000;

/* Reads "1s" to "3600s". */
static bool read_seconds(postern_bytes text, uint64_t *seconds) {
    *seconds = 0;
    if (text.length < 2 || text.length > 5 || text.data[text.length - 1] != 's') return false;
    for (size_t i = 0; i < text.length - 1; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        *seconds = *seconds * 10 + (text.data[i] - '0');
    }
    return *seconds >= 1 && *seconds <= 3600;
}

static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
    postern_setting setting;
    while (postern_next_setting(&settings, &setting)) {
        uint64_t seconds;
        if (!postern_is(setting.name, "within")) {
            static postern_line line;
            postern_add(&line, setting.name);
            postern_add(&line, POSTERN_TEXT(": unknown; the only setting is within"));
            *error = postern_line_text(&line);
            return false;
        }
        if (!read_seconds(postern_unquoted(setting.value), &seconds)) {
            *error = POSTERN_TEXT("within: use \"1s\" to \"3600s\"");
            return false;
        }
        within = seconds * 1000000;
    }
    interest->watches = watches;
    interest->watch_count = sizeof(watches) / sizeof(watches[0]);
    interest->memory_format = 1;
    return true;
}

/* When the first knock came, if that is remembered. Byte by byte, since the host's list is not aligned. */
static bool recall(const postern_bytes *memory, uint64_t *first) {
    if (memory == NULL || memory->length != sizeof(*first)) return false;
    for (size_t i = 0; i < sizeof(*first); i++) ((uint8_t *)first)[i] = memory->data[i];
    return true;
}

static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict) {
    static const postern_open_request the_first_door;
    /* What an answer points to must outlive the call. */
    static uint64_t kept;
    uint64_t first;

    if (postern_matches(&watches[0], knock)) {
        kept = knock->time;
        verdict->kind = POSTERN_REMEMBER;
        verdict->progress.stage = 1;
        verdict->progress.memory = (postern_bytes){(const uint8_t *)&kept, sizeof(kept)};
        verdict->progress.until = knock->time + within;
    } else if (postern_matches(&watches[1], knock) && recall(memory, &first)) {
        /* A packet may carry an earlier time than the one before it. */
        uint64_t waited = knock->time > first ? knock->time - first : 0;
        postern_line line = {0};
        postern_add(&line, POSTERN_TEXT("second knock after "));
        postern_add_number(&line, waited / 1000);
        postern_add(&line, POSTERN_TEXT(" ms"));
        postern_log(POSTERN_INFO, postern_line_text(&line));
        verdict->kind = POSTERN_OPEN;
        verdict->open_requests = &the_first_door;
        verdict->request_count = 1;
    }
    /* Else the verdict stays what it is from the start: POSTERN_IGNORE. */
}

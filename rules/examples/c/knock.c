/* A fixed sequence: 1111/udp, 2222/udp, 3333/tcp with SYN and without ACK, within five seconds.
 *
 * It says what the stock rule `sequence` says with these settings; its own settings are not looked at. It stands here to show
 * how small a rule in C is.
 */
#include "postern.h"

enum { STEPS = 3 };

static const uint64_t WITHIN = 5 * 1000000;

static const postern_watch sequence[STEPS] = {
    {POSTERN_UDP, 1111, 1111, 0, 0},
    {POSTERN_UDP, 2222, 2222, 0, 0},
    {POSTERN_TCP, 3333, 3333, POSTERN_SYN, POSTERN_ACK},
};

/* What is remembered of a client: the start is whole microseconds, so nothing is lost. */
typedef struct {
    uint64_t start; /* when the first step came */
    uint64_t stage; /* right steps so far, 1 or 2 */
} memory;

static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
    (void)settings;
    (void)error;
    interest->watches = sequence;
    interest->watch_count = STEPS;
    interest->memory_format = 1;
    return true;
}

/* Whether the knock hits this step's port. */
static bool hits(const postern_watch *step, const postern_knock *knock) {
    return knock->transport == step->transport && knock->destination_port == step->first_port;
}

static bool lacks_flags(const postern_knock *knock) {
    return knock->transport == POSTERN_TCP && (knock->tcp_flags & (POSTERN_SYN | POSTERN_ACK)) != POSTERN_SYN;
}

/* What is remembered, if it is ours and still in time; else stage 0. */
static memory recall(const postern_bytes *bytes, uint64_t now) {
    memory kept = {now, 0};
    if (bytes == NULL || bytes->length != sizeof(kept)) return kept;
    /* Byte by byte, since the host's list is not aligned. */
    for (size_t i = 0; i < sizeof(kept); i++) ((uint8_t *)&kept)[i] = bytes->data[i];
    /* After a clock was set back the time starts now, or it would last too long. */
    if (kept.start > now) kept.start = now;
    bool is_current = kept.stage > 0 && kept.stage < STEPS && now - kept.start < WITHIN;
    return is_current ? kept : (memory){now, 0};
}

static void rule_judge(const postern_knock *knock, const postern_bytes *bytes, postern_verdict *verdict) {
    static memory kept;
    static const postern_open_request the_door;

    if (lacks_flags(knock)) return;
    kept = recall(bytes, knock->time);
    if (!hits(&sequence[kept.stage], knock)) {
        if (kept.stage == 0) return;
        verdict->kind = POSTERN_FORGET;
        verdict->reason = POSTERN_TEXT("wrong step");
        return;
    }
    kept.stage++;
    if (kept.stage == STEPS) {
        verdict->kind = POSTERN_OPEN;
        verdict->open_requests = &the_door;
        verdict->request_count = 1;
        return;
    }
    verdict->kind = POSTERN_REMEMBER;
    verdict->progress.stage = (uint32_t)kept.stage;
    verdict->progress.memory = (postern_bytes){(const uint8_t *)&kept, sizeof(kept)};
    verdict->progress.until = kept.start + WITHIN;
}

/* A datagram that carries a secret opens the first door. */
#include "postern_text.h"

enum { SHORTEST = 16, LONGEST = 256 };

static postern_watch watch = {POSTERN_UDP, 0, 0, 0, 0};

/* A copy: what the host hands over is gone after the call. */
static uint8_t secret[LONGEST];
static size_t secret_length;

/* Reads a port; 0 if it is none. */
static uint16_t read_port(postern_bytes digits) {
    uint32_t port = 0;
    if (digits.length > 5) return 0;
    for (size_t i = 0; i < digits.length; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9') return 0;
        port = port * 10 + (digits.data[i] - '0');
    }
    return port <= 65535 ? (uint16_t)port : 0;
}

static bool keep_secret(postern_bytes text) {
    if (text.length < SHORTEST || text.length > LONGEST) return false;
    for (size_t i = 0; i < text.length; i++) {
        /* What JSON writes in another way than it is. */
        if (text.data[i] == '\\') return false;
        secret[i] = text.data[i];
    }
    secret_length = text.length;
    return true;
}

static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
    postern_setting setting;
    while (postern_next_setting(&settings, &setting)) {
        if (postern_is(setting.name, "port")) {
            watch.first_port = watch.last_port = read_port(setting.value);
        } else if (!postern_is(setting.name, "secret")) {
            static postern_line line;
            postern_add(&line, setting.name);
            postern_add(&line, POSTERN_TEXT(": unknown; the settings are port and secret"));
            *error = postern_line_text(&line);
            return false;
        } else if (!keep_secret(postern_unquoted(setting.value))) {
            *error = POSTERN_TEXT(
                "secret: write 16 to 256 bytes of text without \" and \\, such as `openssl rand -hex 16` makes");
            return false;
        }
    }
    if (watch.first_port == 0) {
        *error = POSTERN_TEXT("port: write the UDP port that the datagram is sent to, 1 to 65535");
        return false;
    }
    if (secret_length == 0) {
        *error = POSTERN_TEXT("secret is missing; write what the datagram must carry");
        return false;
    }
    interest->watches = &watch;
    interest->watch_count = 1;
    /* One byte more, so that a longer payload is seen to be one. */
    interest->payload_limit = (uint32_t)secret_length + 1;
    return true;
}

/* Looks at as many bytes whichever is wrong, so that the time it takes does not say how many are right. */
static bool is_secret(postern_bytes payload) {
    volatile uint8_t difference = 0;
    if (payload.length != secret_length) return false;
    for (size_t i = 0; i < secret_length; i++) difference |= payload.data[i] ^ secret[i];
    return difference == 0;
}

static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict) {
    static const postern_open_request the_first_door;
    (void)memory;
    if (!postern_matches(&watch, knock)) return;
    if (is_secret(knock->payload)) {
        verdict->kind = POSTERN_OPEN;
        verdict->open_requests = &the_first_door;
        verdict->request_count = 1;
    } else {
        verdict->kind = POSTERN_FORGET;
        verdict->reason = POSTERN_TEXT("another payload than the secret");
    }
}

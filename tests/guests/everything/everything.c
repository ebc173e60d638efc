/* Says everything that a rule can say, by the port of the knock; tests/all/everything.rs has the same in Rust. */
#include "postern_text.h"

static const postern_watch watches[] = {
    {POSTERN_UDP, 1, 9, 0, 0},
    {POSTERN_TCP, 1, 9, POSTERN_SYN, POSTERN_RST | POSTERN_CWR},
    {POSTERN_ICMPV6, 1, 9, 0, 0},
};
static const postern_prefix prefixes[] = {
    {{POSTERN_V6, {0x20010db8, 0, 0, 0}}, 32},
    {{POSTERN_V4, {0xc0000200}}, 24},
};

static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
    if (settings.length > 2) {
        *error = settings;
        return false;
    }
    interest->watches = watches;
    interest->watch_count = 3;
    interest->destination = POSTERN_WITHIN;
    interest->prefixes = prefixes;
    interest->prefix_count = 2;
    interest->payload_limit = 1500;
    interest->tcp_header = 1;
    interest->memory_format = 7;
    return true;
}

static postern_line line;

static void add_address(const postern_address *address) {
    for (int i = 0; i < (address->family == POSTERN_V4 ? 1 : 4); i++) {
        for (int shift = 28; shift >= 0; shift -= 4) {
            postern_bytes digit = {(const uint8_t *)"0123456789abcdef" + (address->parts[i] >> shift & 15), 1};
            postern_add(&line, digit);
        }
    }
}

static void add_numbers(const uint64_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (line.length > 0) postern_add(&line, POSTERN_TEXT(" "));
        postern_add_number(&line, numbers[i]);
    }
}

static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict) {
    static postern_open_request opens[2];
    static postern_close_request closes[2];
    static uint8_t kept[1500];

    line.length = 0;
    postern_bytes payload = {kept, knock->payload.length};
    for (size_t i = 0; i < knock->payload.length; i++) kept[i] = knock->payload.data[i];
    switch (knock->destination_port) {
    case 1:
        verdict->kind = POSTERN_REMEMBER;
        verdict->progress.stage = knock->source_port;
        verdict->progress.memory = payload;
        verdict->progress.until = knock->time + knock->hop_limit * UINT64_C(1000000);
        break;
    case 2:
        verdict->kind = POSTERN_FORGET;
        postern_add(&line, memory ? *memory : POSTERN_TEXT("none"));
        verdict->reason = postern_line_text(&line);
        break;
    case 3:
        verdict->kind = POSTERN_OPEN;
        opens[0].has_once = 1;
        opens[0].once.kind = POSTERN_TOKEN;
        opens[0].once.token.bytes = payload;
        opens[0].once.token.has_until = 1;
        opens[0].once.token.until = knock->time + 1000000;
        opens[0].has_door = 1;
        opens[0].door = POSTERN_TEXT("a");
        opens[0].has_seconds = 1;
        opens[0].seconds = 30;
        opens[0].has_prefix_length = 1;
        opens[0].prefix_length = 24;
        opens[1].has_once = 1;
        opens[1].once.kind = POSTERN_COUNTER;
        opens[1].once.counter.key = POSTERN_TEXT("k");
        opens[1].once.counter.value = knock->time;
        opens[1].has_door = 1;
        opens[1].door = POSTERN_TEXT("b");
        verdict->open_requests = opens;
        verdict->request_count = 2;
        verdict->has_remember = 1;
        verdict->remember.memory = POSTERN_TEXT("x");
        verdict->remember.until = knock->time + 5000000;
        break;
    case 4: {
        static postern_open_request open;
        verdict->kind = POSTERN_OPEN;
        open.has_once = 1;
        open.once.token.bytes = payload;
        verdict->open_requests = &open;
        verdict->request_count = 1;
        break;
    }
    case 5:
        verdict->kind = POSTERN_CLOSE;
        closes[1].has_door = 1;
        closes[1].door = POSTERN_TEXT("b");
        closes[1].has_prefix_length = 1;
        closes[1].prefix_length = 64;
        verdict->close_requests = closes;
        verdict->request_count = 2;
        break;
    case 6: {
        static uint8_t options[40];
        static postern_close_request close;
        for (size_t i = 0; i < knock->tcp_header.options.length; i++) options[i] = knock->tcp_header.options.data[i];
        verdict->kind = POSTERN_CLOSE;
        verdict->close_requests = &close;
        verdict->request_count = 1;
        verdict->has_remember = 1;
        verdict->remember.stage = 3;
        verdict->remember.memory.data = options;
        verdict->remember.memory.length = knock->tcp_header.options.length;
        verdict->remember.until = knock->time + 5000000;
        break;
    }
    case 7: {
        const postern_tcp_header *header = &knock->tcp_header;
        if (knock->has_tcp_header) {
            uint64_t numbers[] = {header->sequence, header->acknowledgment, header->window, header->urgent_pointer};
            add_numbers(numbers, 4);
        }
        uint64_t numbers[] = {
            knock->packet_length, knock->interface_index, knock->source_zone, knock->source_port,
            knock->tcp_flags,     knock->transport,       knock->hop_limit,
        };
        add_numbers(numbers, 7);
        verdict->kind = POSTERN_FORGET;
        verdict->reason = postern_line_text(&line);
        break;
    }
    case 8:
        add_address(&knock->source);
        postern_add(&line, POSTERN_TEXT(" "));
        add_address(&knock->destination);
        verdict->kind = POSTERN_FORGET;
        verdict->reason = postern_line_text(&line);
        break;
    }
}

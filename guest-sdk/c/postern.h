/* postern.h: write a Postern rule in C, without a C library and without a bindings generator.
 *
 * Include it in the one source file of the rule, and define these two functions:
 *
 *     static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error);
 *     static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict);
 *
 * The structures lie in memory as the component model's canonical ABI lays out the records of `postern:rule@0.1.0`, so the exports
 * below only pass pointers on. What a pointer in an argument points to lives until the call returns. What a pointer in an answer
 * points to must outlive the call: static data, or memory that was handed in. An answer starts out all zero.
 *
 * Build with: clang --target=wasm32 -ffreestanding -nostdlib (see rules/knock-c/build.sh).
 */
#ifndef POSTERN_H
#define POSTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A list of bytes, or a text in UTF-8. Not terminated by a zero. */
typedef struct {
    const uint8_t *data;
    size_t length;
} postern_bytes;

/* A text constant as bytes. */
#define POSTERN_TEXT(text) ((postern_bytes){(const uint8_t *)(text), sizeof(text) - 1})

enum { POSTERN_TCP = 0, POSTERN_UDP = 1, POSTERN_ICMP = 2, POSTERN_ICMPV6 = 3 };

/* TCP flags (RFC 9293, section 3.1). */
enum {
    POSTERN_FIN = 0x01,
    POSTERN_SYN = 0x02,
    POSTERN_RST = 0x04,
    POSTERN_PSH = 0x08,
    POSTERN_ACK = 0x10,
    POSTERN_URG = 0x20,
    POSTERN_ECE = 0x40,
    POSTERN_CWR = 0x80
};

enum { POSTERN_V4 = 0, POSTERN_V6 = 1 };

/* Parts are numbers in host order, the highest first: 192.0.2.1 is {POSTERN_V4, {0xC0000201}}, with one part;
 * 2001:db8::1 is {POSTERN_V6, {0x20010db8, 0, 0, 1}}. */
typedef struct {
    uint8_t family;
    uint32_t parts[4];
} postern_address;

/* All addresses that share their first `length` bits. The bits behind must be zero. */
typedef struct {
    postern_address address;
    uint8_t length;
} postern_prefix;

/* Packets that a rule asks to see. Ports are those of the destination, both included; for ICMP the message type. */
typedef struct {
    uint8_t transport;
    uint16_t first_port;
    uint16_t last_port;
    uint8_t set;   /* TCP flags that must be set, */
    uint8_t clear; /* and that must be clear */
} postern_watch;

enum { POSTERN_THIS_HOST = 0, POSTERN_ANYWHERE = 1, POSTERN_WITHIN = 2 };

/* What a rule asks for when it is loaded. */
typedef struct {
    const postern_watch *watches; /* 1 to 1024 */
    size_t watch_count;
    uint8_t destination;             /* POSTERN_THIS_HOST, ... */
    const postern_prefix *prefixes;  /* with POSTERN_WITHIN, at most 64 */
    size_t prefix_count;
    uint32_t payload_limit; /* bytes of payload wanted, 0 to 1500 */
    uint32_t memory_format; /* change it when remembered bytes change their meaning */
} postern_interest;

/* One packet. */
typedef struct {
    uint64_t time; /* of capture: microseconds since 1970-01-01 UTC; may step back */
    postern_address source;
    uint16_t source_port; /* ICMP: code */
    postern_address destination;
    uint16_t destination_port; /* ICMP: type */
    uint8_t transport;
    uint8_t tcp_flags;
    uint8_t hop_limit;
    uint32_t length; /* of the IP packet */
    postern_bytes interface;
    postern_bytes payload;
} postern_knock;

/* What the host keeps of a client until its next knock. */
typedef struct {
    uint32_t stage;      /* how far the client has come; 0: not half way, but something else is to be remembered */
    postern_bytes bytes; /* at most 1024 */
    uint64_t until;      /* when to drop it, on the clock of knock.time */
} postern_progress;

enum { POSTERN_TOKEN = 0, POSTERN_COUNTER = 1 };

/* Makes an opening happen at most once. */
typedef struct {
    uint8_t kind;
    struct {
        postern_bytes key; /* the token, or whose counter; 1 to 64 bytes */
        uint64_t value;    /* of the counter, at most 2^53 - 1 */
    } of;
} postern_once;

/* One door to be opened. All zero: the rule's first door, for the source of the knock, as long as the rule's file says. */
typedef struct {
    uint8_t has_door;
    postern_bytes door;
    uint8_t has_client;
    postern_prefix client;
    uint8_t has_lasts;
    uint32_t lasts; /* seconds, above 0 */
    uint8_t has_once;
    postern_once once;
} postern_opening;

/* One door to be closed. All zero: the rule's first door, for the source of the knock. */
typedef struct {
    uint8_t has_door;
    postern_bytes door;
    uint8_t has_client;
    postern_prefix client;
} postern_closing;

enum { POSTERN_IGNORE = 0, POSTERN_REMEMBER = 1, POSTERN_FORGET = 2, POSTERN_OPEN = 3, POSTERN_CLOSE = 4 };

/* What a rule says of one knock. */
typedef struct {
    uint8_t kind;
    union {
        postern_progress progress; /* POSTERN_REMEMBER */
        postern_bytes reason;      /* POSTERN_FORGET, at most 200 bytes */
        struct {                   /* POSTERN_OPEN and POSTERN_CLOSE */
            union {
                const postern_opening *openings; /* POSTERN_OPEN */
                const postern_closing *closings; /* POSTERN_CLOSE */
            };
            union {
                size_t opening_count; /* at most 8 */
                size_t closing_count; /* at most 8 */
            };
            uint8_t has_after;
            postern_progress after; /* what to remember of the client from then on */
        };
    };
} postern_verdict;

/* Called once, before anything else. `settings` is a JSON object. False: `error` says what is wrong with them. */
static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error);

/* Called for each packet asked for. `memory` is what was last remembered of its source, or NULL. */
static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict);

#ifdef __wasm__

enum { POSTERN_ERROR = 0, POSTERN_WARN = 1, POSTERN_INFO = 2, POSTERN_DEBUG = 3 };

__attribute__((import_module("postern:rule/host@0.1.0"), import_name("log")))
void postern_log_raw(uint32_t level, const uint8_t *text, size_t length);

/* Writes a line to the daemon's log. */
static inline void postern_log(uint32_t level, postern_bytes text) {
    postern_log_raw(level, text.data, text.length);
}

/* The canonical ABI's numbers, so that a compiler that lays out otherwise says so. */
_Static_assert(sizeof(postern_address) == 20, "address");
_Static_assert(sizeof(postern_prefix) == 24, "prefix");
_Static_assert(sizeof(postern_watch) == 8 && offsetof(postern_watch, set) == 6, "watch");
_Static_assert(sizeof(postern_interest) == 28 && offsetof(postern_interest, payload_limit) == 20, "interest");
_Static_assert(sizeof(postern_knock) == 80 && offsetof(postern_knock, destination) == 32, "knock");
_Static_assert(offsetof(postern_knock, transport) == 54 && offsetof(postern_knock, interface) == 64, "knock");
_Static_assert(sizeof(postern_progress) == 24 && offsetof(postern_progress, until) == 16, "progress");
_Static_assert(sizeof(postern_once) == 24 && sizeof(postern_opening) == 80, "opening");
_Static_assert(offsetof(postern_opening, client) == 16 && offsetof(postern_opening, once) == 56, "opening");
_Static_assert(sizeof(postern_closing) == 40, "closing");
_Static_assert(sizeof(postern_verdict) == 48 && offsetof(postern_verdict, progress) == 8, "verdict");
_Static_assert(offsetof(postern_verdict, has_after) == 16 && offsetof(postern_verdict, after) == 24, "verdict");

/* An arena: the host asks for memory before a call, and after the call all of it is free again. */
extern uint8_t __heap_base;
static uintptr_t postern_arena;

/* Asked by the host, for arguments. Traps when there is no more. */
__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(const uint8_t *old, size_t old_size, size_t align, size_t new_size) {
    if (postern_arena == 0) postern_arena = (uintptr_t)&__heap_base;
    uintptr_t start = (postern_arena + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t end = start + new_size;
    uintptr_t have = __builtin_wasm_memory_size(0) * (uintptr_t)65536;
    if (start < postern_arena || end < start) __builtin_trap();
    if (end > have) {
        uintptr_t pages = (end - have + 65535) / 65536;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
    }
    uint8_t *block = (uint8_t *)start;
    for (size_t i = 0; i < old_size && i < new_size; i++) block[i] = old[i];
    postern_arena = end;
    return block;
}

__attribute__((export_name("configure")))
const void *postern_export_configure(const uint8_t *settings, size_t length) {
    static struct {
        uint8_t is_error;
        union {
            postern_interest interest;
            postern_bytes error;
        };
    } answer;
    _Static_assert(sizeof(answer) == 32, "result<interest, string>");
    postern_interest interest = {0};
    postern_bytes error = {0};
    answer.is_error = !rule_configure((postern_bytes){settings, length}, &interest, &error);
    if (answer.is_error)
        answer.error = error;
    else
        answer.interest = interest;
    postern_arena = (uintptr_t)&__heap_base;
    return &answer;
}

__attribute__((export_name("judge")))
const void *postern_export_judge(const void *arguments) {
    static postern_verdict verdict;
    const struct {
        postern_knock knock;
        uint8_t has_memory;
        postern_bytes memory;
    } *call = arguments;
    _Static_assert(sizeof(*call) == 96 && offsetof(__typeof__(*call), memory) == 84, "judge");
    verdict = (postern_verdict){0};
    rule_judge(&call->knock, call->has_memory ? &call->memory : NULL, &verdict);
    postern_arena = (uintptr_t)&__heap_base;
    return &verdict;
}

/* The compiler calls these two even without a C library. */
void *memset(void *to, int byte, size_t length) {
    volatile uint8_t *bytes = to;
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t length) {
    volatile uint8_t *bytes = to;
    for (size_t i = 0; i < length; i++) bytes[i] = ((const uint8_t *)from)[i];
    return to;
}

#endif /* __wasm__ */
#endif

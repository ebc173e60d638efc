/* postern.h: write a Postern rule in C, without a C library and without a bindings generator.
 *
 * Include it in the one source file of the rule, and define these two functions:
 *
 *     static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error);
 *     static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict);
 *
 * The structures lie in memory as the component model's canonical ABI lays out the records of `postern:rule@0.2.0`, so the exports
 * below only pass pointers on. What a pointer in an argument points to lives until the call returns. What a pointer in an answer
 * points to must outlive the call: static data, or memory that was handed in. An answer starts out all zero.
 *
 * Build with: clang --target=wasm32 -ffreestanding -nostdlib (see rules/examples/c/build.sh).
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

/* All addresses that share their first `length` bits. The bits behind them must be zero. */
typedef struct {
    postern_address address;
    uint8_t length;
} postern_prefix;

/* Packets that a rule asks to see. Ports are those of the destination, both included; for ICMP the message type. */
typedef struct {
    uint8_t transport;
    uint16_t first_port;
    uint16_t last_port;
    uint8_t flags_set;   /* TCP flags that must be set, */
    uint8_t flags_clear; /* and that must be clear */
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
    uint8_t tcp_header;     /* 1: knock.tcp_header is wanted */
    uint32_t memory_format; /* change it when remembered bytes change their meaning */
} postern_interest;

/* What a TCP header says beyond ports and flags. */
typedef struct {
    uint32_t sequence;
    uint32_t acknowledgment;
    uint16_t window;
    uint16_t urgent_pointer;
    postern_bytes options; /* with their padding, at most 40 bytes */
} postern_tcp_header;

/* One packet. */
typedef struct {
    uint64_t time; /* of capture: microseconds since 1970-01-01 UTC; may step back */
    postern_address source;
    uint32_t source_zone; /* of a link-local source: index of the interface on whose link it is; else 0 */
    uint16_t source_port; /* ICMP: code */
    postern_address destination;
    uint16_t destination_port; /* ICMP: type */
    uint8_t transport;
    uint8_t tcp_flags;
    uint8_t hop_limit;
    uint32_t packet_length;   /* of the IP packet, headers included */
    uint32_t interface_index; /* of the interface that captured it; 0: not known */
    uint8_t has_tcp_header;   /* only if the interest says so, and of TCP */
    postern_tcp_header tcp_header;
    postern_bytes payload;
} postern_knock;

/* What the host keeps of a client until its next knock. */
typedef struct {
    uint32_t stage;       /* how far the client has come; 0: not half way, but something else is to be remembered */
    postern_bytes memory; /* handed back with the client's next knock; at most 1024 bytes */
    uint64_t until;       /* when to drop it, on the clock of knock.time */
} postern_progress;

enum { POSTERN_TOKEN = 0, POSTERN_COUNTER = 1 };

/* Makes an opening happen at most once. */
typedef struct {
    uint8_t kind;
    union {
        struct {                 /* POSTERN_TOKEN */
            postern_bytes bytes; /* 1 to 64 */
            uint8_t has_until;   /* without, the host never forgets the token */
            uint64_t until;      /* the last moment at which the rule could accept it, on the clock of knock.time */
        } token;
        struct {               /* POSTERN_COUNTER */
            postern_bytes key; /* which counter; 1 to 64 bytes */
            uint64_t value;    /* at most 2^53 - 1 */
        } counter;
    };
} postern_once;

/* A wish to open a door. All zero: the rule's first door, for the source of the knock, as long as the rule's file says. */
typedef struct {
    uint8_t has_once;
    postern_once once;
    uint8_t has_door;
    postern_bytes door;
    uint8_t has_seconds;
    uint32_t seconds; /* above 0 */
    uint8_t has_prefix_length;
    uint8_t prefix_length; /* for all that share so many first bits with the source */
} postern_open_request;

/* A wish to close a door. All zero: the rule's first door, for the source of the knock. */
typedef struct {
    uint8_t has_door;
    postern_bytes door;
    uint8_t has_prefix_length;
    uint8_t prefix_length;
} postern_close_request;

enum { POSTERN_IGNORE = 0, POSTERN_REMEMBER = 1, POSTERN_FORGET = 2, POSTERN_OPEN = 3, POSTERN_CLOSE = 4 };

/* What a rule says of one knock. */
typedef struct {
    uint8_t kind;
    union {
        postern_progress progress; /* POSTERN_REMEMBER */
        postern_bytes reason;      /* POSTERN_FORGET, at most 200 bytes */
        struct {                   /* POSTERN_OPEN and POSTERN_CLOSE */
            union {
                const postern_open_request *open_requests;   /* POSTERN_OPEN */
                const postern_close_request *close_requests; /* POSTERN_CLOSE */
            };
            size_t request_count; /* 1 to 8 */
            uint8_t has_remember;
            postern_progress remember; /* what to remember of the client from then on */
        };
    };
} postern_verdict;

/* Called once, before anything else. `settings` is a JSON object. False: `error` says what is wrong with them. */
static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error);

/* Called for each packet asked for. `memory` is what was last remembered of its source, or NULL. */
static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict);

#ifdef __wasm__

enum { POSTERN_ERROR = 0, POSTERN_WARN = 1, POSTERN_INFO = 2, POSTERN_DEBUG = 3 };

__attribute__((import_module("postern:rule/host@0.2.0"), import_name("log")))
void postern_log_raw(uint32_t level, const uint8_t *text, size_t length);

/* Writes a line to the daemon's log. */
static inline void postern_log(uint32_t level, postern_bytes text) {
    postern_log_raw(level, text.data, text.length);
}

/* The canonical ABI's numbers, so that a compiler that lays out otherwise says so. */
_Static_assert(sizeof(postern_address) == 20, "address");
_Static_assert(sizeof(postern_prefix) == 24, "prefix");
_Static_assert(sizeof(postern_watch) == 8 && offsetof(postern_watch, flags_set) == 6, "watch");
_Static_assert(sizeof(postern_interest) == 32 && offsetof(postern_interest, tcp_header) == 24, "interest");
_Static_assert(sizeof(postern_tcp_header) == 20 && offsetof(postern_tcp_header, options) == 12, "tcp-header");
_Static_assert(sizeof(postern_knock) == 104 && offsetof(postern_knock, destination) == 36, "knock");
_Static_assert(offsetof(postern_knock, transport) == 58 && offsetof(postern_knock, tcp_header) == 76, "knock");
_Static_assert(sizeof(postern_progress) == 24 && offsetof(postern_progress, until) == 16, "progress");
_Static_assert(sizeof(postern_once) == 32 && offsetof(postern_once, token.until) == 24, "once");
_Static_assert(offsetof(postern_once, counter.value) == 16, "once");
_Static_assert(sizeof(postern_open_request) == 64 && offsetof(postern_open_request, door) == 44, "open-request");
_Static_assert(offsetof(postern_open_request, prefix_length) == 61, "open-request");
_Static_assert(sizeof(postern_close_request) == 16, "close-request");
_Static_assert(sizeof(postern_verdict) == 48 && offsetof(postern_verdict, progress) == 8, "verdict");
_Static_assert(offsetof(postern_verdict, has_remember) == 16 && offsetof(postern_verdict, remember) == 24, "verdict");

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
    _Static_assert(sizeof(answer) == 36, "result<interest, string>");
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
    typedef struct {
        postern_knock knock;
        uint8_t has_memory;
        postern_bytes memory;
    } postern_arguments;
    _Static_assert(sizeof(postern_arguments) == 120 && offsetof(postern_arguments, memory) == 108, "judge");
    const postern_arguments *call = (const postern_arguments *)arguments;
    verdict = (postern_verdict){0};
    rule_judge(&call->knock, call->has_memory ? &call->memory : NULL, &verdict);
    postern_arena = (uintptr_t)&__heap_base;
    return &verdict;
}

/* The compiler calls these two even without a C library. */
void *memset(void *to, int byte, size_t length) {
    volatile uint8_t *bytes = (volatile uint8_t *)to;
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t length) {
    volatile uint8_t *bytes = (volatile uint8_t *)to;
    for (size_t i = 0; i < length; i++) bytes[i] = ((const uint8_t *)from)[i];
    return to;
}

#endif /* __wasm__ */
#endif

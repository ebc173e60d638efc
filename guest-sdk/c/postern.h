/* A Postern rule in C or C++, without a bindings generator; a C library is not needed.
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
 * README.md beside this file says how to build and test a rule. Natively there are no exports, and the log goes to stderr.
 */
#ifndef POSTERN_H
#define POSTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With a C library, its allocator is the one of the module; without (-ffreestanding), this file brings what little is needed. */
#if __STDC_HOSTED__
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#endif

/* What C and C++ write in different ways: a value of a structure, and one that is all zero. */
#ifdef __cplusplus
#define POSTERN_VALUE(type) type
#define POSTERN_ZERO {}
#define POSTERN_ASSERT(condition, message) static_assert(condition, message)
extern "C" {
#else
#define POSTERN_VALUE(type) (type)
#define POSTERN_ZERO {0}
#define POSTERN_ASSERT(condition, message) _Static_assert(condition, message)
#endif

/* A list of bytes, or a text in UTF-8. Not terminated by a zero. */
typedef struct {
    const uint8_t *data;
    size_t length;
} postern_bytes;

/* A text constant as bytes. */
#define POSTERN_TEXT(text) (POSTERN_VALUE(postern_bytes){(const uint8_t *)(text), sizeof(text) - 1})

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

/* Whether a knock is one that this watch asks for. */
static inline bool postern_matches(const postern_watch *watch, const postern_knock *knock) {
    return knock->transport == watch->transport && knock->destination_port >= watch->first_port &&
           knock->destination_port <= watch->last_port &&
           (knock->transport != POSTERN_TCP || ((knock->tcp_flags & watch->flags_set) == watch->flags_set &&
                                                (knock->tcp_flags & watch->flags_clear) == 0));
}

enum { POSTERN_ERROR = 0, POSTERN_WARN = 1, POSTERN_INFO = 2, POSTERN_DEBUG = 3 };

#ifdef __wasm__

__attribute__((import_module("postern:rule/host@0.2.0"), import_name("log")))
void postern_log_raw(uint32_t level, const uint8_t *text, size_t length);

/* Writes a line to the daemon's log. */
static inline void postern_log(uint32_t level, postern_bytes text) {
    postern_log_raw(level, text.data, text.length);
}

/* The canonical ABI's numbers, so that a compiler that lays out otherwise says so. tests/all/layouts.rs holds every field against the contract. */
POSTERN_ASSERT(sizeof(postern_interest) == 32, "interest");
POSTERN_ASSERT(sizeof(postern_knock) == 104, "knock");
POSTERN_ASSERT(sizeof(postern_open_request) == 64, "open-request");
POSTERN_ASSERT(sizeof(postern_close_request) == 16, "close-request");
POSTERN_ASSERT(sizeof(postern_verdict) == 48, "verdict");

#if __STDC_HOSTED__

/* What the host asked for in the call that is running, the last first. */
static struct postern_block {
    struct postern_block *before;
    uint64_t aligned[];
} *postern_blocks;

/* Asked by the host, for arguments. Traps when there is no more. */
__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(const uint8_t *old, size_t old_size, size_t align, size_t new_size) {
    struct postern_block *block = (struct postern_block *)malloc(sizeof(struct postern_block) + new_size);
    if (block == NULL || align > sizeof(uint64_t)) __builtin_trap();
    if (old_size > 0) memcpy(block->aligned, old, old_size < new_size ? old_size : new_size);
    block->before = postern_blocks;
    postern_blocks = block;
    return block->aligned;
}

/* Frees the arguments of a call. */
static void postern_end_call(void) {
    while (postern_blocks != NULL) {
        struct postern_block *block = postern_blocks;
        postern_blocks = block->before;
        free(block);
    }
}

#else

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

static void postern_end_call(void) {
    postern_arena = (uintptr_t)&__heap_base;
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

#endif /* __STDC_HOSTED__ */

/* result<interest, string> */
typedef struct {
    uint8_t is_error;
    union {
        postern_interest interest;
        postern_bytes error;
    };
} postern_configured;
POSTERN_ASSERT(sizeof(postern_configured) == 36, "result<interest, string>");

__attribute__((export_name("configure")))
const void *postern_export_configure(const uint8_t *settings, size_t length) {
    static postern_configured answer;
    postern_interest interest = POSTERN_ZERO;
    postern_bytes error = POSTERN_ZERO;
    postern_bytes json = {settings, length};
    answer.is_error = !rule_configure(json, &interest, &error);
    if (answer.is_error)
        answer.error = error;
    else
        answer.interest = interest;
    postern_end_call();
    return &answer;
}

/* What the host passes to `judge`. */
typedef struct {
    postern_knock knock;
    uint8_t has_memory;
    postern_bytes memory;
} postern_call;
POSTERN_ASSERT(sizeof(postern_call) == 120 && offsetof(postern_call, memory) == 108, "judge");

__attribute__((export_name("judge")))
const void *postern_export_judge(const void *arguments) {
    static postern_verdict verdict;
    static const postern_verdict ignore = POSTERN_ZERO;
    const postern_call *call = (const postern_call *)arguments;
    verdict = ignore;
    rule_judge(&call->knock, call->has_memory ? &call->memory : NULL, &verdict);
    postern_end_call();
    return &verdict;
}

#elif __STDC_HOSTED__

/* Natively, as in a test: to stderr. */
static inline void postern_log(uint32_t level, postern_bytes text) {
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    fprintf(stderr, "%s: %.*s\n", levels[level & 3], (int)text.length, (const char *)text.data);
}

#endif /* __wasm__ */

#ifdef __cplusplus
}
#endif
#endif

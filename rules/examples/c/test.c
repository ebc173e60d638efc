/* Tests knock.c natively: cc -I ../../../guest-sdk/c test.c && ./a.out */
#include "knock.c"

#undef NDEBUG
#include <assert.h>

static postern_verdict judge(const postern_knock *knock, const postern_bytes *memory) {
    postern_verdict verdict = {0};
    rule_judge(knock, memory, &verdict);
    return verdict;
}

static bool configure(const char *json) {
    postern_bytes settings = {(const uint8_t *)json, strlen(json)}, error = {0};
    postern_interest interest = {0};
    bool is_right = rule_configure(settings, &interest, &error);
    if (!is_right) fprintf(stderr, "%.*s\n", (int)error.length, (const char *)error.data);
    return is_right;
}

int main(void) {
    postern_knock first = {.time = 1000000, .transport = POSTERN_UDP, .destination_port = 7000};
    postern_knock second = {
        .time = 1400000, .transport = POSTERN_TCP, .destination_port = 7001, .tcp_flags = POSTERN_SYN};

    assert(!configure("{\"within\":5}") && !configure("{\"within\":\"0s\"}") && !configure("{\"withn\":\"2s\"}"));
    assert(configure("{\"within\":\"2s\"}"));

    postern_verdict verdict = judge(&first, NULL);
    assert(verdict.kind == POSTERN_REMEMBER && verdict.progress.stage == 1 && verdict.progress.until == 3000000);
    assert(judge(&second, &verdict.progress.memory).kind == POSTERN_OPEN);

    assert(judge(&second, NULL).kind == POSTERN_IGNORE);
    second.tcp_flags |= POSTERN_ACK;
    assert(judge(&second, &verdict.progress.memory).kind == POSTERN_IGNORE);
    return 0;
}

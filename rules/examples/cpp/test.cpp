// Tests knock.cpp natively: c++ -std=c++20 -I ../../../guest-sdk/c -I ../../../guest-sdk/cpp test.cpp && ./a.out
#include "knock.cpp"

#undef NDEBUG
#include <cassert>

static bool configure(std::string_view settings) {
    postern_interest interest{};
    postern_bytes error{};
    const bool is_right = rule_configure(postern::bytes(settings), &interest, &error);
    assert(is_right || !postern::view(error).empty());
    return is_right;
}

static postern_verdict judge(const postern_knock &knock, const postern_bytes *memory = nullptr) {
    postern_verdict verdict{};
    rule_judge(&knock, memory, &verdict);
    return verdict;
}

int main() {
    postern_knock first{}, second{};
    first.time = 1'000'000;
    first.transport = POSTERN_UDP;
    first.destination_port = 7000;
    second.time = 1'400'000;
    second.transport = POSTERN_TCP;
    second.destination_port = 7001;
    second.tcp_flags = POSTERN_SYN;

    assert(!configure(R"({"within":5})") && !configure(R"({"within":"0s"})") && !configure(R"({"withn":"2s"})"));
    assert(configure(R"({"within":"2s"})"));

    const postern_verdict verdict = judge(first);
    assert(verdict.kind == POSTERN_REMEMBER && verdict.progress.stage == 1 && verdict.progress.until == 3'000'000);
    assert(judge(second, &verdict.progress.memory).kind == POSTERN_OPEN);

    assert(judge(second).kind == POSTERN_IGNORE);
    second.tcp_flags |= POSTERN_ACK;
    assert(judge(second, &verdict.progress.memory).kind == POSTERN_IGNORE);
}

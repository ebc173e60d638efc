// 7000/udp, and within five seconds a SYN at 7001/tcp: the first door opens.
#include "postern.hpp"

#include <array>
#include <charconv>
#include <string>

namespace {

constexpr postern_watch first_knock{POSTERN_UDP, 7000, 7000, 0, 0};
constexpr postern_watch second_knock{POSTERN_TCP, 7001, 7001, POSTERN_SYN, POSTERN_ACK};
constexpr std::array watches{first_knock, second_knock};

/// Microseconds that a client has between the two.
std::uint64_t within = 5'000'000;

/// Reads "1s" to "3600s".
std::optional<unsigned> read_seconds(std::string_view text) {
    unsigned seconds = 0;
    const char *end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, seconds);
    const bool is_right = error == std::errc{} && std::string_view(rest, end) == "s" && seconds >= 1 && seconds <= 3600;
    return is_right ? std::optional(seconds) : std::nullopt;
}

}  // namespace

static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
    // What an answer points to must outlive the call.
    static std::string mistake;

    for (postern_setting setting; postern_next_setting(&settings, &setting);) {
        const std::string_view name = postern::view(setting.name);
        const auto seconds = read_seconds(postern::view(postern_unquoted(setting.value)));
        if (name != "within") {
            mistake = std::string(name) + ": unknown; the only setting is within";
        } else if (!seconds) {
            mistake = R"(within: use "1s" to "3600s")";
        } else {
            within = *seconds * 1'000'000ull;
            continue;
        }
        *error = postern::bytes(mistake);
        return false;
    }
    interest->watches = watches.data();
    interest->watch_count = watches.size();
    interest->memory_format = 1;
    return true;
}

static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict) {
    static const postern_open_request the_first_door{};
    static std::uint64_t kept;

    if (postern_matches(&first_knock, knock)) {
        kept = knock->time;
        verdict->kind = POSTERN_REMEMBER;
        verdict->progress = {.stage = 1, .memory = postern::memory_of(kept), .until = kept + within};
        return;
    }
    const auto first = postern::recall<std::uint64_t>(memory);
    if (first && postern_matches(&second_knock, knock)) {
        // A packet may carry an earlier time than the one before it.
        const std::uint64_t waited = knock->time > *first ? knock->time - *first : 0;
        postern::log(POSTERN_INFO, "second knock after " + std::to_string(waited / 1000) + " ms");
        verdict->kind = POSTERN_OPEN;
        verdict->open_requests = &the_first_door;
        verdict->request_count = 1;
    }
    // Else the verdict stays what it is from the start: POSTERN_IGNORE.
}

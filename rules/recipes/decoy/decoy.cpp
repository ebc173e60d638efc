// Decoy ports: a source that hits several of them opens the first door, which is a set of sources to be dropped.
#include "postern.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <vector>

namespace {

constexpr std::size_t most_ports = 32;
constexpr std::uint64_t second = 1'000'000;

/// What is remembered of a source.
struct Hits {
    /// When the first of them came.
    std::uint64_t begin;
    /// Which of the ports, a bit each.
    std::uint64_t ports;
};

std::vector<postern_watch> ports;
/// How many different ports a source hits before it is one that scans.
unsigned enough = 3;
/// Within so many microseconds.
std::uint64_t within = 60 * second;
/// Sources that the door is never opened for.
std::vector<postern_prefix> never;
/// What is wrong with the settings. It outlives the call.
std::string mistakes;

void mistake(std::string_view setting, std::string_view what) {
    if (!mistakes.empty()) mistakes += '\n';
    mistakes.append(setting).append(": ").append(what);
}

/// Digits, and nothing else.
std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const char *end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    return error == std::errc{} && rest == end ? std::optional(value) : std::nullopt;
}

/// The items of a list without commas in them, as JSON writes it.
std::optional<std::vector<std::string_view>> items(std::string_view json) {
    if (json.size() < 2 || json.front() != '[' || json.back() != ']') return std::nullopt;
    std::vector<std::string_view> items;
    json = json.substr(1, json.size() - 2);
    while (!json.empty()) {
        const std::size_t end = std::min(json.find(','), json.size());
        items.push_back(json.substr(0, end));
        json.remove_prefix(std::min(end + 1, json.size()));
    }
    return items;
}

/// Whether an address is in a network.
bool holds(const postern_prefix &prefix, const postern_address &address) {
    if (prefix.address.family != address.family) return false;
    const unsigned words = address.family == POSTERN_V4 ? 1 : 4;
    for (unsigned i = 0, left = prefix.length; i < words && left > 0; i++) {
        const unsigned bits = std::min(left, 32u);
        if ((prefix.address.parts[i] ^ address.parts[i]) >> (32 - bits) != 0) return false;
        left -= bits;
    }
    return true;
}

/// Reads an address, or a network such as "10.0.0.0/8".
std::optional<postern_prefix> network(std::string_view json) {
    if (json.size() < 2 || json.front() != '"') return std::nullopt;
    const std::string_view text = json.substr(1, json.size() - 2);
    const std::size_t slash = std::min(text.find('/'), text.size());
    const std::string address(text.substr(0, slash));
    postern_prefix prefix{};
    prefix.address.family = address.find(':') == std::string::npos ? POSTERN_V4 : POSTERN_V6;
    const unsigned longest = prefix.address.family == POSTERN_V4 ? 32 : 128;
    const int family = prefix.address.family == POSTERN_V4 ? AF_INET : AF_INET6;
    const auto length = slash == text.size() ? longest : number(text.substr(slash + 1));
    std::array<std::uint32_t, 4> parts{};
    if (inet_pton(family, address.c_str(), parts.data()) != 1 || !length || *length > longest) return std::nullopt;
    std::transform(parts.begin(), parts.end(), prefix.address.parts, [](auto part) { return ntohl(part); });
    prefix.length = static_cast<std::uint8_t>(*length);
    return prefix;
}

void read_ports(std::string_view json) {
    const auto list = items(json);
    if (!list || list->empty() || list->size() > most_ports) {
        return mistake("ports", "write a list of 1 to 32 TCP ports that nothing listens on, such as [23, 3389]");
    }
    for (const std::string_view item : *list) {
        const unsigned written = number(item).value_or(0);
        const auto port = static_cast<std::uint16_t>(written);
        const auto is_that = [&](const postern_watch &watch) { return watch.first_port == port; };
        const std::string text(item);
        if (written == 0 || written > 65535) return mistake("ports", text + " is no port; write 1 to 65535");
        if (std::any_of(ports.begin(), ports.end(), is_that)) return mistake("ports", text + " is there twice");
        ports.push_back({POSTERN_TCP, port, port, POSTERN_SYN, POSTERN_ACK});
    }
}

void read_never(std::string_view json) {
    const auto list = items(json);
    if (!list) return mistake("never", R"(write a list of networks, such as ["192.0.2.0/24", "2001:db8::/32"])");
    for (const std::string_view item : *list) {
        const auto prefix = network(item);
        const std::string text(item);
        if (!prefix) return mistake("never", text + R"( is no network; write one such as "192.0.2.0/24")");
        never.push_back(*prefix);
    }
}

}  // namespace

static bool rule_configure(postern_bytes settings, postern_interest *interest, postern_bytes *error) {
    bool has_never = false;
    for (postern_setting setting; postern_next_setting(&settings, &setting);) {
        const std::string_view name = postern::view(setting.name), value = postern::view(setting.value);
        if (name == "ports") {
            read_ports(value);
        } else if (name == "hits") {
            enough = number(value).value_or(0);
        } else if (name == "within") {
            const std::string_view text = postern::view(postern_unquoted(setting.value));
            const unsigned seconds = text.ends_with('s') ? number(text.substr(0, text.size() - 1)).value_or(0) : 0;
            if (seconds < 1 || seconds > 3600) mistake("within", "use \"1s\" to \"3600s\"");
            within = seconds * second;
        } else if (name == "never") {
            has_never = true;
            read_never(value);
        } else {
            mistake(name, "unknown; the settings are ports, hits, within and never");
        }
    }
    if (mistakes.empty() && ports.empty()) mistake("ports", "is missing; write TCP ports that nothing listens on");
    if (mistakes.empty() && (enough < 1 || enough > ports.size())) {
        mistake("hits", "write how many different ones of the ports are too many, 1 to as many as there are");
    }
    if (!has_never) {
        mistake("never", "is missing; write the networks that you must not lock out, [] if there are none");
    }
    *error = postern::bytes(mistakes);
    interest->watches = ports.data();
    interest->watch_count = ports.size();
    // With other ports, or in another order, the bits that are remembered mean others.
    for (const postern_watch &watch : ports) {
        interest->memory_format = interest->memory_format * 31 + watch.first_port;
    }
    return mistakes.empty();
}

static void rule_judge(const postern_knock *knock, const postern_bytes *memory, postern_verdict *verdict) {
    static const postern_open_request the_first_door{};
    static Hits hits;

    const auto is_hit = [&](const postern_watch &watch) { return postern_matches(&watch, knock); };
    const auto has_source = [&](const postern_prefix &prefix) { return holds(prefix, knock->source); };
    const auto hit = std::find_if(ports.begin(), ports.end(), is_hit);
    if (hit == ports.end() || std::any_of(never.begin(), never.end(), has_source)) return;

    const auto kept = postern::recall<Hits>(memory);
    // A clock that was set back begins anew, so that nothing is remembered for longer.
    const bool is_current = kept && kept->begin <= knock->time && knock->time - kept->begin < within;
    hits = is_current ? *kept : Hits{knock->time, 0};
    hits.ports |= 1ull << (hit - ports.begin());
    const auto count = static_cast<unsigned>(__builtin_popcountll(hits.ports));
    if (count >= enough) {
        verdict->kind = POSTERN_OPEN;
        verdict->open_requests = &the_first_door;
        verdict->request_count = 1;
        return;
    }
    verdict->kind = POSTERN_REMEMBER;
    verdict->progress = {.stage = count, .memory = postern::memory_of(hits), .until = hits.begin + within};
}

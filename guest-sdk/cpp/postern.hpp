// A Postern rule in C++20: the structures of postern.h, with the standard library's views of text and bytes.
//
// Include it in the one source file of the rule, and define `rule_configure` and `rule_judge` as postern.h says.
#ifndef POSTERN_HPP
#define POSTERN_HPP

#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

#include "postern_text.h"

namespace postern {

/// The bytes as text.
inline std::string_view view(postern_bytes bytes) {
    return {reinterpret_cast<const char *>(bytes.data), bytes.length};
}

/// The text as bytes. It points to the text, and a text in an answer must outlive the call.
inline postern_bytes bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()};
}

/// What is remembered of a client, if it is of this type: a number, or a structure of numbers.
template <typename T>
std::optional<T> recall(const postern_bytes *memory) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (memory == nullptr || memory->length != sizeof value) return std::nullopt;
    std::memcpy(&value, memory->data, sizeof value);
    return value;
}

/// A value as what is to be remembered of a client. It points to the value, which must outlive the call.
template <typename T>
postern_bytes memory_of(const T &value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<const std::uint8_t *>(&value), sizeof value};
}

/// Writes a line to the daemon's log: POSTERN_INFO, ...
inline void log(std::uint32_t level, std::string_view text) {
    postern_log(level, bytes(text));
}

}  // namespace postern

#if defined(__wasm__) && defined(_LIBCPP_VERSION)
// What libc++ calls where it cannot go on, and lets a program define. Its own one prints, for which the module would need WASI.
void std::__libcpp_verbose_abort(const char *format, ...) noexcept {
    postern::log(POSTERN_ERROR, format);
    __builtin_trap();
}
#endif
#endif

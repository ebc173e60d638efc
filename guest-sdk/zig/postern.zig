//! A Postern rule in Zig, without a bindings generator.
//!
//! A rule is a file with two functions, which it hands over at its top:
//!
//!     comptime {
//!         postern.exportRule(@This());
//!     }
//!     pub fn configure(settings: postern.Settings) postern.Configured
//!     pub fn judge(knock: *const postern.Knock, memory: ?[]const u8) postern.Verdict
//!
//! The structures lie in memory as the component model's canonical ABI lays out the records of postern:rule@0.2.0, so the exports below
//! only pass pointers on; tests/all/layouts.rs holds them against the contract. What an argument points to lives until the call returns.
//! What an answer points to must outlive the call: constants, variables, or what `allocator` gave during the call.

const std = @import("std");
const builtin = @import("builtin");

const is_module = builtin.cpu.arch == .wasm32;

/// A list as the contract has it. What it points to is not counted in.
pub fn List(comptime T: type) type {
    return extern struct {
        items: [*]const T = undefined,
        length: usize = 0,

        /// What it points to must outlive the call: a constant or a variable of the file, or what `allocator` gave.
        pub fn of(slice: []const T) @This() {
            return .{ .items = slice.ptr, .length = slice.len };
        }

        pub fn get(self: @This()) []const T {
            return self.items[0..self.length];
        }
    };
}

/// A text in UTF-8, or bytes.
pub const Bytes = List(u8);

pub const Transport = enum(u8) { tcp, udp, icmp, icmpv6 };

/// TCP flags (RFC 9293, section 3.1).
pub const TcpFlags = packed struct(u8) {
    fin: bool = false,
    syn: bool = false,
    rst: bool = false,
    psh: bool = false,
    ack: bool = false,
    urg: bool = false,
    ece: bool = false,
    cwr: bool = false,

    /// Whether all flags of `set` are here, and none of `clear` is.
    pub fn satisfy(self: TcpFlags, set: TcpFlags, clear: TcpFlags) bool {
        const bits: u8 = @bitCast(self);
        const wanted: u8 = @bitCast(set);
        const unwanted: u8 = @bitCast(clear);
        return bits & (wanted | unwanted) == wanted;
    }
};

/// Parts are numbers in host order, the highest first: 192.0.2.1 is .{ .family = .v4, .parts = .{ 0xC0000201, 0, 0, 0 } }.
pub const Address = extern struct {
    family: enum(u8) { v4, v6 },
    parts: [4]u32,
};

/// All addresses that share their first `length` bits. The bits behind them must be zero.
pub const Prefix = extern struct {
    address: Address,
    length: u8,
};

/// Packets that a rule asks to see. Ports are those of the destination, both included; for ICMP the message type.
pub const Watch = extern struct {
    transport: Transport,
    first_port: u16,
    last_port: u16,
    flags_set: TcpFlags = .{},
    flags_clear: TcpFlags = .{},

    /// Whether a knock is one that this watch asks for.
    pub fn matches(self: Watch, knock: *const Knock) bool {
        return knock.transport == self.transport and
            self.first_port <= knock.destination_port and knock.destination_port <= self.last_port and
            (knock.transport != .tcp or knock.tcp_flags.satisfy(self.flags_set, self.flags_clear));
    }
};

/// What a rule asks for when it is loaded.
pub const Interest = extern struct {
    /// 1 to 1024.
    watches: List(Watch),
    destination: enum(u8) { this_host, anywhere, within } = .this_host,
    /// With `.within`, at most 64.
    prefixes: List(Prefix) = .{},
    /// Bytes of payload wanted, 0 to 1500.
    payload_limit: u32 = 0,
    /// Whether `Knock.tcp_header` is wanted.
    tcp_header: bool = false,
    /// Change it when remembered bytes change their meaning.
    memory_format: u32 = 0,
};

/// What a TCP header says beyond ports and flags.
pub const TcpHeader = extern struct {
    sequence: u32,
    acknowledgment: u32,
    window: u16,
    urgent_pointer: u16,
    /// With their padding, at most 40 bytes.
    options: Bytes,
};

/// One packet.
pub const Knock = extern struct {
    /// Of capture: microseconds since 1970-01-01 UTC; may step back.
    time: u64,
    source: Address,
    /// Of a link-local source: the index of the interface on whose link it is; else 0.
    source_zone: u32 = 0,
    /// ICMP: code.
    source_port: u16,
    destination: Address,
    /// ICMP: type.
    destination_port: u16,
    transport: Transport,
    tcp_flags: TcpFlags = .{},
    hop_limit: u8 = 64,
    /// Of the IP packet, headers included.
    packet_length: u32 = 0,
    /// Of the interface that captured it; 0: not known.
    interface_index: u32 = 0,
    has_tcp_header: bool = false,
    /// Only if the interest says so, and of TCP.
    tcp_header: TcpHeader = undefined,
    payload: Bytes = .{},
};

/// What the host keeps of a client until its next knock.
pub const Progress = extern struct {
    /// How far the client has come; 0: not half way, but something else is to be remembered.
    stage: u32,
    /// Handed back with the client's next knock; at most 1024 bytes.
    memory: Bytes = .{},
    /// When to drop it, on the clock of `Knock.time`.
    until: u64,
};

/// Makes an opening happen at most once.
pub const Once = extern struct {
    kind: enum(u8) { token, counter },
    value: extern union {
        token: extern struct {
            /// 1 to 64.
            bytes: Bytes,
            /// Without, the host never forgets the token.
            has_until: bool = false,
            /// The last moment at which the rule could accept the token, on the clock of `Knock.time`.
            until: u64 = 0,
        },
        counter: extern struct {
            /// Which counter; 1 to 64 bytes.
            key: Bytes,
            /// At most 2^53 - 1, and above every value used before with this key.
            value: u64,
        },
    },
};

/// A wish to open a door. `.{}`: the rule's first door, for the source of the knock, as long as the rule's file says.
pub const OpenRequest = extern struct {
    has_once: bool = false,
    once: Once = undefined,
    has_door: bool = false,
    door: Bytes = .{},
    has_seconds: bool = false,
    seconds: u32 = 0,
    has_prefix_length: bool = false,
    prefix_length: u8 = 0,
};

/// A wish to close a door. `.{}`: the rule's first door, for the source of the knock.
pub const CloseRequest = extern struct {
    has_door: bool = false,
    door: Bytes = .{},
    has_prefix_length: bool = false,
    prefix_length: u8 = 0,
};

/// Doors to open or close, and what to remember of the client from then on.
pub fn Doors(comptime Request: type) type {
    return extern struct {
        /// 1 to 8.
        requests: List(Request),
        has_remember: bool = false,
        remember: Progress = undefined,
    };
}

/// What a rule says of one knock.
pub const Verdict = union(enum) {
    /// No change: what is remembered of the client stays.
    ignore,
    /// Remember this of the client instead of what was.
    remember: Progress,
    /// The client starts over, for this reason of at most 200 bytes.
    forget: []const u8,
    /// Open doors.
    open: Doors(OpenRequest),
    /// Close doors.
    close: Doors(CloseRequest),

    /// Opens the rule's first door.
    pub const open_first: Verdict = .{ .open = .{ .requests = .of(&[1]OpenRequest{.{}}) } };
};

/// What a rule says of its settings: what it asks for, or a text for their author. A line of that which begins as in "within: " is
/// shown at that setting.
pub const Configured = union(enum) {
    interest: Interest,
    mistake: []const u8,
};

/// A rule's settings.
pub const Settings = struct {
    /// A JSON object: what the rule's file says under [settings], {} if nothing.
    json: []const u8,

    /// The settings as a value of `std.json`, in memory that lasts as long as the call.
    pub fn parse(self: Settings) std.json.ObjectMap {
        const value = std.json.parseFromSliceLeaky(std.json.Value, allocator, self.json, .{});
        // The host wrote it.
        return (value catch unreachable).object;
    }
};

pub const Level = enum(u32) { err, warn, info, debug };

/// Writes a line to the daemon's log, formatted as `std.fmt` does; natively to stderr.
pub fn log(level: Level, comptime format: []const u8, arguments: anytype) void {
    const text = print(format, arguments);
    if (is_module) {
        host.log(level, text.ptr, text.len);
    } else {
        std.debug.print("{s}: {s}\n", .{ @tagName(level), text });
    }
}

/// A text as `std.fmt` formats it, in memory that lasts until the host has read the answer of this call.
pub fn print(comptime format: []const u8, arguments: anytype) []const u8 {
    return std.fmt.allocPrint(allocator, format, arguments) catch @panic("out of memory");
}

/// A copy of a value as bytes to be remembered, in memory that lasts until the host has read the answer of this call.
pub fn memoryOf(value: anytype) Bytes {
    const copy = allocator.create(@TypeOf(value)) catch @panic("out of memory");
    copy.* = value;
    return .of(std.mem.asBytes(copy));
}

/// What `memoryOf` remembered, if it is as long.
pub fn recall(comptime T: type, memory: ?[]const u8) ?T {
    const bytes = memory orelse return null;
    return if (bytes.len == @sizeOf(T)) std.mem.bytesToValue(T, bytes) else null;
}

const host = struct {
    extern "postern:rule/host@0.2.0" fn log(level: Level, text: [*]const u8, length: usize) void;
};

/// Memory that lasts until the host has read the answer of this call: then all of it is free again. Natively it lasts for ever.
pub const allocator: std.mem.Allocator = if (is_module) arena.allocator() else std.heap.page_allocator;
var arena: std.heap.ArenaAllocator = .init(if (is_module) std.heap.wasm_allocator else std.heap.page_allocator);

/// Result<interest, string>.
const Answer = extern struct {
    is_error: bool,
    value: extern union { interest: Interest, mistake: Bytes },
};

const Call = extern struct {
    knock: Knock,
    has_memory: bool,
    memory: Bytes,
};

/// A verdict as the contract has it.
const RawVerdict = extern struct {
    kind: enum(u8) { ignore, remember, forget, open, close },
    value: extern union {
        ignore: void,
        remember: Progress,
        forget: Bytes,
        open: Doors(OpenRequest),
        close: Doors(CloseRequest),
    },
};

var answer: Answer = undefined;
var verdict: RawVerdict = undefined;

/// Makes a rule the one that this module exports; natively it does nothing.
pub fn exportRule(comptime Rule: type) void {
    if (!is_module) return;
    const exports = struct {
        fn realloc(old: [*]const u8, old_size: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
            const block = allocator.rawAlloc(size, .fromByteUnits(alignment), 0) orelse @trap();
            const kept = @min(old_size, size);
            @memcpy(block[0..kept], old[0..kept]);
            return block;
        }

        fn configure(settings: [*]const u8, length: usize) callconv(.c) *const Answer {
            answer = switch (Rule.configure(.{ .json = settings[0..length] })) {
                .interest => |interest| .{ .is_error = false, .value = .{ .interest = interest } },
                .mistake => |text| .{ .is_error = true, .value = .{ .mistake = .of(text) } },
            };
            return &answer;
        }

        fn judge(call: *const Call) callconv(.c) *const RawVerdict {
            const memory = if (call.has_memory) call.memory.get() else null;
            verdict = switch (Rule.judge(&call.knock, memory)) {
                .ignore => .{ .kind = .ignore, .value = undefined },
                .remember => |progress| .{ .kind = .remember, .value = .{ .remember = progress } },
                .forget => |reason| .{ .kind = .forget, .value = .{ .forget = .of(reason) } },
                .open => |doors| .{ .kind = .open, .value = .{ .open = doors } },
                .close => |doors| .{ .kind = .close, .value = .{ .close = doors } },
            };
            return &verdict;
        }

        /// The host has read the answer.
        fn end(_: *const anyopaque) callconv(.c) void {
            _ = arena.reset(.retain_capacity);
        }
    };
    @export(&exports.realloc, .{ .name = "cabi_realloc" });
    @export(&exports.configure, .{ .name = "configure" });
    @export(&exports.judge, .{ .name = "judge" });
    @export(&exports.end, .{ .name = "cabi_post_configure" });
    @export(&exports.end, .{ .name = "cabi_post_judge" });
}

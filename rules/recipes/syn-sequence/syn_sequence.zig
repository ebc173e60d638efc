//! A SYN whose sequence number is made of a key, the sender's address and the minute opens the first door, once.

const std = @import("std");
const postern = @import("postern");
const HmacSha256 = std.crypto.auth.hmac.sha2.HmacSha256;

comptime {
    postern.exportRule(@This());
}

const minute_us: u64 = 60_000_000;

var watches = [_]postern.Watch{.{
    .transport = .tcp,
    .first_port = 0,
    .last_port = 0,
    .flags_set = .{ .syn = true },
    .flags_clear = .{ .ack = true },
}};

/// A copy: what the host hands over is gone after the call.
var key_bytes: [256]u8 = undefined;
var key: []const u8 = "";

/// What the answer to a right knock points to.
var token: [24]u8 = undefined;
var request: [1]postern.OpenRequest = undefined;

pub fn configure(settings: postern.Settings) postern.Configured {
    const values = settings.parse();
    for (values.keys(), values.values()) |name, value| {
        if (std.mem.eql(u8, name, "port")) {
            if (value != .integer or value.integer < 1 or value.integer > 65535) {
                return .{ .mistake = "port: write the TCP port that the SYN goes to, 1 to 65535" };
            }
            watches[0].first_port = @intCast(value.integer);
            watches[0].last_port = @intCast(value.integer);
        } else if (std.mem.eql(u8, name, "key")) {
            if (value != .string or value.string.len < 32 or value.string.len > key_bytes.len) {
                return .{ .mistake = "key: write 32 to 256 bytes of text, such as `openssl rand -hex 32` makes" };
            }
            @memcpy(key_bytes[0..value.string.len], value.string);
            key = key_bytes[0..value.string.len];
        } else {
            return .{ .mistake = postern.print("{s}: unknown; the settings are port and key", .{name}) };
        }
    }
    if (watches[0].first_port == 0) return .{ .mistake = "port is missing; write the TCP port that the SYN goes to" };
    if (key.len == 0) return .{ .mistake = "key is missing; write what `openssl rand -hex 32` makes" };
    return .{ .interest = .{ .watches = .of(&watches), .tcp_header = true } };
}

pub fn judge(knock: *const postern.Knock, _: ?[]const u8) postern.Verdict {
    if (!watches[0].matches(knock) or !knock.has_tcp_header) return .ignore;
    const now = knock.time / minute_us;
    // The client's clock may be a minute off, or its packet on the way when the minute ends.
    for ([_]u64{ now, now -| 1, now + 1 }) |minute| {
        const message = messageOf(minute, knock.source);
        var mac: [HmacSha256.mac_length]u8 = undefined;
        HmacSha256.create(&mac, message.get(), key);
        // Of one number nothing is known from the time that it takes to compare it.
        if (std.mem.readInt(u32, mac[0..4], .big) == knock.tcp_header.sequence) return openOnce(minute, message);
    }
    return .{ .forget = "a SYN with another sequence number than that of this minute" };
}

/// Opens for what is made of this message, which is good until the end of the minute behind its own.
fn openOnce(minute: u64, message: Message) postern.Verdict {
    token = message.bytes;
    request = .{.{
        .has_once = true,
        .once = .{ .kind = .token, .value = .{ .token = .{
            .bytes = .of(token[0..message.length]),
            .has_until = true,
            .until = (minute + 2) * minute_us - 1,
        } } },
    }};
    return .{ .open = .{ .requests = .of(&request) } };
}

/// What the key is put to.
const Message = struct {
    bytes: [24]u8,
    length: usize,

    fn get(self: *const Message) []const u8 {
        return self.bytes[0..self.length];
    }
};

/// The minutes since 1970, in 8 bytes, and the address as it is on the wire, the highest byte first.
fn messageOf(minute: u64, address: postern.Address) Message {
    const words: usize = if (address.family == .v4) 1 else 4;
    var message: Message = .{ .bytes = undefined, .length = 8 + 4 * words };
    std.mem.writeInt(u64, message.bytes[0..8], minute, .big);
    for (address.parts[0..words], 0..) |part, n| {
        std.mem.writeInt(u32, message.bytes[8 + 4 * n ..][0..4], part, .big);
    }
    return message;
}

//! A rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door.

const std = @import("std");
const postern = @import("postern");

comptime {
    postern.exportRule(@This());
}

const first: postern.Watch = .{ .transport = .udp, .first_port = 7000, .last_port = 7000 };
const second: postern.Watch = .{
    .transport = .tcp,
    .first_port = 7001,
    .last_port = 7001,
    .flags_set = .{ .syn = true },
    .flags_clear = .{ .ack = true },
};
const watches = [_]postern.Watch{ first, second };

/// Microseconds that a client has between the two.
var within: u64 = 5_000_000;

pub fn configure(settings: postern.Settings) postern.Configured {
    const values = settings.parse();
    for (values.keys(), values.values()) |name, value| {
        if (!std.mem.eql(u8, name, "within")) {
            return .{ .mistake = postern.print("{s}: unknown; the only setting is within", .{name}) };
        }
        const seconds = readSeconds(value) orelse return .{ .mistake = "within: use \"1s\" to \"3600s\"" };
        within = seconds * 1_000_000;
    }
    return .{ .interest = .{ .watches = .of(&watches), .memory_format = 1 } };
}

/// Reads "1s" to "3600s".
fn readSeconds(value: std.json.Value) ?u64 {
    if (value != .string or !std.mem.endsWith(u8, value.string, "s")) return null;
    const digits = value.string[0 .. value.string.len - 1];
    const seconds = std.fmt.parseInt(u64, digits, 10) catch return null;
    return if (seconds >= 1 and seconds <= 3600) seconds else null;
}

pub fn judge(knock: *const postern.Knock, memory: ?[]const u8) postern.Verdict {
    if (first.matches(knock)) {
        return .{ .remember = .{ .stage = 1, .memory = postern.memoryOf(knock.time), .until = knock.time + within } };
    }
    if (second.matches(knock)) {
        const begin = postern.recall(u64, memory) orelse return .ignore;
        // A packet may carry an earlier time than the one before it.
        postern.log(.info, "second knock after {d} ms", .{(knock.time -| begin) / 1000});
        return .open_first;
    }
    return .ignore;
}

fn packet(time: u64, transport: postern.Transport, port: u16, flags: postern.TcpFlags) postern.Knock {
    return .{
        .time = time,
        .source = .{ .family = .v4, .parts = .{ 0xCB007107, 0, 0, 0 } },
        .source_port = 40000,
        .destination = .{ .family = .v4, .parts = .{ 0xC0000201, 0, 0, 0 } },
        .destination_port = port,
        .transport = transport,
        .tcp_flags = flags,
    };
}

test "settings" {
    for ([_][]const u8{ "{\"within\":5}", "{\"within\":\"0s\"}", "{\"within\":\"soon\"}" }) |json| {
        try std.testing.expectEqualStrings("within: use \"1s\" to \"3600s\"", configure(.{ .json = json }).mistake);
    }
    const unknown = configure(.{ .json = "{\"withn\":\"2s\"}" }).mistake;
    try std.testing.expectEqualStrings("withn: unknown; the only setting is within", unknown);
}

test "two knocks open" {
    _ = configure(.{ .json = "{\"within\":\"2s\"}" }).interest;
    const progress = judge(&packet(1_000_000, .udp, 7000, .{}), null).remember;
    try std.testing.expectEqual(1, progress.stage);
    try std.testing.expectEqual(3_000_000, progress.until);

    const syn = packet(1_400_000, .tcp, 7001, .{ .syn = true });
    const syn_ack = packet(1_400_000, .tcp, 7001, .{ .syn = true, .ack = true });
    try std.testing.expect(judge(&syn, progress.memory.get()) == .open);
    try std.testing.expect(judge(&syn, null) == .ignore);
    try std.testing.expect(judge(&syn_ack, progress.memory.get()) == .ignore);
}

//! Says everything that a rule can say, by the port of the knock; tests/all/everything.rs has the same in Rust.

const std = @import("std");
const postern = @import("postern");

comptime {
    postern.exportRule(@This());
}

const watches = [_]postern.Watch{
    .{ .transport = .udp, .first_port = 1, .last_port = 9 },
    .{
        .transport = .tcp,
        .first_port = 1,
        .last_port = 9,
        .flags_set = .{ .syn = true },
        .flags_clear = .{ .rst = true, .cwr = true },
    },
    .{ .transport = .icmpv6, .first_port = 1, .last_port = 9 },
};
const prefixes = [_]postern.Prefix{
    .{ .address = .{ .family = .v6, .parts = .{ 0x20010db8, 0, 0, 0 } }, .length = 32 },
    .{ .address = .{ .family = .v4, .parts = .{ 0xc0000200, 0, 0, 0 } }, .length = 24 },
};

pub fn configure(settings: postern.Settings) postern.Configured {
    if (settings.json.len > 2) return .{ .mistake = settings.json };
    return .{ .interest = .{
        .watches = .of(&watches),
        .destination = .within,
        .prefixes = .of(&prefixes),
        .payload_limit = 1500,
        .tcp_header = true,
        .memory_format = 7,
    } };
}

const closes = [_]postern.CloseRequest{
    .{},
    .{ .has_door = true, .door = .of("b"), .has_prefix_length = true, .prefix_length = 64 },
};
var opens: [2]postern.OpenRequest = undefined;

pub fn judge(knock: *const postern.Knock, memory: ?[]const u8) postern.Verdict {
    const header = &knock.tcp_header;
    switch (knock.destination_port) {
        1 => return .{ .remember = .{
            .stage = knock.source_port,
            .memory = knock.payload,
            .until = knock.time + @as(u64, knock.hop_limit) * 1_000_000,
        } },
        2 => return .{ .forget = memory orelse "none" },
        3 => {
            opens = .{
                .{
                    .has_once = true,
                    .once = .{ .kind = .token, .value = .{ .token = .{
                        .bytes = knock.payload,
                        .has_until = true,
                        .until = knock.time + 1_000_000,
                    } } },
                    .has_door = true,
                    .door = .of("a"),
                    .has_seconds = true,
                    .seconds = 30,
                    .has_prefix_length = true,
                    .prefix_length = 24,
                },
                .{
                    .has_once = true,
                    .once = .{ .kind = .counter, .value = .{ .counter = .{ .key = .of("k"), .value = knock.time } } },
                    .has_door = true,
                    .door = .of("b"),
                },
            };
            return .{ .open = .{
                .requests = .of(&opens),
                .has_remember = true,
                .remember = .{ .stage = 0, .memory = .of("x"), .until = knock.time + 5_000_000 },
            } };
        },
        4 => {
            opens[0] = .{ .has_once = true, .once = .{ .kind = .token, .value = .{ .token = .{ .bytes = knock.payload } } } };
            return .{ .open = .{ .requests = .of(opens[0..1]) } };
        },
        5 => return .{ .close = .{ .requests = .of(&closes) } },
        6 => return .{ .close = .{
            .requests = .of(&.{.{}}),
            .has_remember = true,
            .remember = .{
                .stage = 3,
                .memory = if (knock.has_tcp_header) header.options else .{},
                .until = knock.time + 5_000_000,
            },
        } },
        7 => {
            const of_header = if (!knock.has_tcp_header) "" else postern.print("{d} {d} {d} {d} ", .{
                header.sequence, header.acknowledgment, header.window, header.urgent_pointer,
            });
            const flags: u8 = @bitCast(knock.tcp_flags);
            return .{ .forget = postern.print("{s}{d} {d} {d} {d} {d} {d} {d}", .{
                of_header,         knock.packet_length, knock.interface_index,        knock.source_zone,
                knock.source_port, flags,               @intFromEnum(knock.transport), knock.hop_limit,
            }) };
        },
        8 => return .{ .forget = postern.print("{s} {s}", .{ hex(&knock.source), hex(&knock.destination) }) },
        else => return .ignore,
    }
}

fn hex(address: *const postern.Address) []const u8 {
    const parts = &address.parts;
    return switch (address.family) {
        .v4 => postern.print("{x:0>8}", .{parts[0]}),
        .v6 => postern.print("{x:0>8}{x:0>8}{x:0>8}{x:0>8}", .{ parts[0], parts[1], parts[2], parts[3] }),
    };
}

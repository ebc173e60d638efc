//! Postern's decisions, and nothing else: no I/O, no clock, no threads.
//!
//! A packet arrives as a [`Knock`]. [`Dispatch`] knows which rules asked for it; each is judged with what [`Memories`] hold
//! of the client, and what its [`Verdict`] asks for goes as an [`Event`] into the [`Engine`], which answers with
//! [`Action`]s: orders to doors, and a [`Report`] for each thing that happened. Every function gets the time as an argument, so that a
//! scenario of an hour is a test of a millisecond.
//!
//! **Invariant:** nothing here reads a clock; `.clippy.toml` of this crate bans it.

// What a packet says, and what a rule asks for and answers.
mod hook_run;
mod interest;
mod knock;
mod likeness;
mod module_digest;
mod verdict;
mod watch_grant;

// Which rules are called, and with what.
mod backoff;
mod bounds;
mod copies;
mod dispatch;
mod memory;

// What rules and doors are, as the configuration describes them.
mod command_door;
mod config_identity;
mod door_mistake;
mod doors_table;
mod net_door;
pub mod os_text;
mod port_range;
mod posture;
mod release;
mod rule_log_level;
mod rule_spec;
mod set_name;

// What becomes of their verdicts.
mod action;
mod claim;
mod client;
mod cpu_meter;
mod door;
mod drop_reason;
mod durability;
mod engine;
mod event;
mod listing;
mod moment;
mod once;
mod opening;
mod opening_note;
mod openings;
mod owner_marks;
mod report;
mod tenant;
mod tenant_counts;
mod tenant_limits;
mod tenant_openings;
mod width;

pub use action::{Action, Why};
pub use backoff::Backoff;
pub use bounds::Bounds;
pub use claim::{Claim, ClaimError, ClaimKind};
pub use client::{Client, NotAClient};
pub use command_door::{CommandDoor, KNOCKD_DAEMON_VAR, PLACEHOLDERS, ShellDoor};
pub use config_identity::ConfigIdentity;
pub use copies::Copies;
pub use cpu_meter::{Admission, CpuMeter, CpuPace, Excess};
pub use dispatch::{Dispatch, DispatchPart, Subscription, TooManyOverlaps};
pub use door::{Act, DoorId, OpeningKey, Order, OrderError, Receipt};
pub use door_mistake::{DoorMistake, check_doors};
pub use doors_table::{DoorsTable, OrderLimits};
pub use drop_reason::DropReason;
pub use durability::{Durability, RecordError};
pub use engine::Engine;
pub use event::{Event, Request};
pub use hook_run::HookRun;
pub use interest::{ANY_INTERFACE, Destination, Interest, Watch};
pub use knock::{
    Detail, Direction, Knock, MAX_PAYLOAD, MAX_TCP_OPTIONS, Sighting, TcpFlags, TcpHeader, Timestamp,
    Transport,
};
pub use likeness::Likeness;
pub use listing::{ListedOpening, Listing};
pub use memory::{HashedClient, Memories, MemoryId, Remembered};
pub use module_digest::{ModuleDigest, show_digest};
pub use moment::Moment;
pub use net_door::{
    GuardDoor, MAX_ALWAYS, MAX_ALWAYS_IN_ALL, MAX_DOOR_PORTS, MAX_GUARDED_PORTS, NetDoor, OnClose, Trusted,
};
pub use once::{MAX_PER_RULE, MAX_TOKENS, UsedOnce};
pub use opening::{Opening, OpeningPart, OpeningState, UnheardClose};
pub use opening_note::{MOST_NOTE, OpeningNote};
pub use openings::Openings;
pub use owner_marks::OwnerMarks;
pub use port_range::{GuardProtocol, PortRange};
pub use posture::Posture;
pub use release::Release;
pub use report::{
    Observer, PacketCounts, Phase, Report, Scope, Severity, Silence, ThreadKind, Unprotected, What,
};
pub use rule_log_level::RuleLogLevel;
pub use rule_spec::{ModuleSource, RuleLimits, RuleSpec};
pub use set_name::{Family, SetName, SetNameError};
pub use tenant::{Again, DoorPolicy, Grant, Longest, Policy, RuleId, TenantId};
pub use tenant_limits::{CpuShare, TenantLimits};
pub use verdict::{CloseRequest, Once, OpenRequest, Progress, Verdict};
pub use watch_grant::{BeyondGrant, WatchGrant, WatchedPorts};
pub use width::{Width, WidthError};

pub use ipnet::IpNet;

//! What goes from one of the daemon's processes to another, and the sockets that carry it.
//!
//! A [`Talk`] carries messages of any type, with descriptors, between a supervisor and what it started. It is as strict as JSON and serde
//! make it, and bounded by whoever receives. An [`OrderLink`] carries [`LinkRequest`]s from the engine to a process that keeps doors, and
//! [`LinkAnswer`]s back: of fixed sizes, with every byte accounted for but those of notes, which are only kept, since the engine looks at what strangers send.
//! [`ToDoorman`] and [`FromDoorman`] are what a supervisor and a doorman talk about.

mod rpc;
mod talk;

mod commands_table;
mod runner_answer;
mod runner_control;
mod runner_request;

mod answer;
mod bytes;
mod doorman_control;
mod hello;
mod malformed;
mod noted;
mod order_link;
mod processor;
mod request;

pub use answer::{
    ANSWER_SIZE, LARGEST_ANSWER, LinkAnswer, MOST_DOORS, MOST_LONG_TEXT, MOST_TEXT, WhyNotInPlace,
    openings_in_pieces,
};
pub use commands_table::{CommandsTable, TabledCommands, TabledDoor};
pub use doorman_control::{FromDoorman, MOST_DOORMAN_BYTES, NotInPlace, ToDoorman, TrialStart};
pub use hello::{BuildId, Hello, LAYOUT};
pub use malformed::Malformed;
pub use noted::{LARGEST_REQUEST, NotedBytes};
pub use order_link::{OrderLink, Received, Sent};
pub use processor::{ProcessorFollower, this_processor};
pub use request::{LONGEST_MS, LinkRequest, REQUEST_SIZE};
pub use rpc::{Answered, CallError, Reply, RpcClient, notify, serve};
pub use runner_answer::{MOST_NAME, RunnerAnswer};
pub use runner_control::{FromRunner, MOST_RUNNER_BYTES, ToRunner};
pub use runner_request::RunnerRequest;
pub use talk::{MOST_DESCRIPTORS, Talk, TalkReceiver, TalkSender};

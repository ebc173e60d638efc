//! The bridge between [`Rule`] and the generated bindings of the contract. Only for [`export!`](crate::export):
//! nothing here is covered by the crate's version.

use std::cell::OnceCell;
use std::net::IpAddr;

use bindings::postern::rule::types as wit;

use crate::{
    CloseRequest, Destination, Interest, Knock, Level, Memory, Once, OpenRequest, Prefix, Progress, Rule,
};
use crate::{TcpFlags, TcpHeader, Timestamp, Transport, Verdict, Watch, rule};

/// Generated from `guest-sdk/wit/rule.wit`, to which the folder `wit` here is a link: a published crate has a copy.
#[allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(clippy::all, clippy::restriction, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "rule",
        pub_export_macro: true,
        export_macro_name: "export_rule",
        disable_run_ctors_once_workaround: true,
    });
}

/// Makes a [`Rule`] the one that this module exports. Use it once, in the crate that is built as a `cdylib`.
///
/// It exports nothing on any other target than `wasm32`, so that a rule can be tested natively and linked beside others.
#[macro_export]
macro_rules! export {
    ($rule:ty) => {
        // Elsewhere the rule is still used, so that the compiler finds the same code dead as in the module.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = <$rule as $crate::Rule>::configure;
            let _ = <$rule as $crate::Rule>::judge;
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exported symbols are; the bodies are generated")]
        const _: () = {
            ::std::thread_local! {
                static RULE: $crate::bridge::Slot<$rule> = const { $crate::bridge::Slot::new() };
            }

            struct Exports;

            impl $crate::bridge::bindings::Guest for Exports {
                fn configure(
                    settings: ::std::string::String,
                ) -> ::std::result::Result<$crate::bridge::bindings::Interest, ::std::string::String>
                {
                    RULE.with(|rule| rule.configure(&settings))
                }

                fn judge(
                    knock: $crate::bridge::bindings::Knock,
                    memory: ::std::option::Option<::std::vec::Vec<u8>>,
                ) -> $crate::bridge::bindings::Verdict {
                    RULE.with(|rule| rule.judge(knock, memory))
                }
            }

    $crate::bridge::bindings::export_rule!(Exports with_types_in $crate::bridge::bindings);
        };
    };
}

/// Holds the rule of an instance from `configure` on.
#[derive(Debug)]
pub struct Slot<R>(OnceCell<R>);

impl<R: Rule> Slot<R> {
    /// Without a rule.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceCell::new())
    }

    /// Configures the rule, once.
    ///
    /// # Errors
    ///
    /// What the rule says against the settings.
    pub fn configure(&self, settings: &str) -> Result<wit::Interest, String> {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));

        let (rule, interest) = rule::configure(settings)?;
        self.0.set(rule).map_err(|_| "this instance is configured already".to_owned())?;
        Ok(interest.into())
    }

    /// Judges a knock. An instance that was never configured ignores it: no error path opens a door.
    pub fn judge(&self, knock: wit::Knock, memory: Option<Vec<u8>>) -> wit::Verdict {
        let Some(rule) = self.0.get() else { return wit::Verdict::Ignore };
        let memory = memory.and_then(|bytes| R::Memory::from_bytes(&bytes));
        rule.judge(&knock.into(), memory).into()
    }
}

impl<R: Rule> Default for Slot<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls `host.log`. On any other target than `wasm32` there is no host, and this panics.
pub fn log(level: Level, message: &str) {
    use bindings::postern::rule::host;

    let level = match level {
        Level::Error => host::Level::Error,
        Level::Warn => host::Level::Warn,
        Level::Info => host::Level::Info,
        Level::Debug => host::Level::Debug,
    };
    host::log(level, message);
}

impl From<wit::Knock> for Knock {
    fn from(knock: wit::Knock) -> Self {
        Self {
            time: Timestamp::from_micros(knock.time),
            source: knock.source.into(),
            source_zone: knock.source_zone,
            source_port: knock.source_port,
            destination: knock.destination.into(),
            destination_port: knock.destination_port,
            transport: match knock.transport {
                wit::Transport::Tcp => Transport::Tcp,
                wit::Transport::Udp => Transport::Udp,
                wit::Transport::Icmp => Transport::Icmp,
                wit::Transport::Icmpv6 => Transport::Icmpv6,
            },
            tcp_flags: TcpFlags::from_bits(knock.tcp_flags.bits()),
            hop_limit: knock.hop_limit,
            packet_length: knock.packet_length,
            interface_index: knock.interface_index,
            tcp_header: knock.tcp_header.map(Into::into),
            payload: knock.payload,
        }
    }
}

impl From<wit::TcpHeader> for TcpHeader {
    fn from(header: wit::TcpHeader) -> Self {
        Self {
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            window: header.window,
            urgent_pointer: header.urgent_pointer,
            options: header.options,
        }
    }
}

impl From<wit::Address> for IpAddr {
    fn from(address: wit::Address) -> Self {
        match address {
            wit::Address::V4(bits) => Self::V4(bits.into()),
            wit::Address::V6((a, b, c, d)) => {
                let bits = [a, b, c, d].iter().fold(0, |bits, &part| bits << 32 | u128::from(part));
                Self::V6(bits.into())
            }
        }
    }
}

impl From<IpAddr> for wit::Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h] = address.segments().map(u32::from);
                Self::V6((a << 16 | b, c << 16 | d, e << 16 | f, g << 16 | h))
            }
        }
    }
}

impl From<Interest> for wit::Interest {
    fn from(interest: Interest) -> Self {
        Self {
            watches: interest.watches.into_iter().map(Into::into).collect(),
            destination: match interest.destination {
                Destination::ThisHost => wit::Destination::ThisHost,
                Destination::Anywhere => wit::Destination::Anywhere,
                Destination::Within(prefixes) => {
                    wit::Destination::Within(prefixes.into_iter().map(Into::into).collect())
                }
            },
            payload_limit: interest.payload_limit,
            tcp_header: interest.tcp_header,
            memory_format: interest.memory_format,
        }
    }
}

impl From<Watch> for wit::Watch {
    fn from(watch: Watch) -> Self {
        Self {
            transport: match watch.transport {
                Transport::Tcp => wit::Transport::Tcp,
                Transport::Udp => wit::Transport::Udp,
                Transport::Icmp => wit::Transport::Icmp,
                Transport::Icmpv6 => wit::Transport::Icmpv6,
            },
            first_port: watch.ports.first,
            last_port: watch.ports.last,
            flags_set: wit::TcpFlags::from_bits_retain(watch.set.bits()),
            flags_clear: wit::TcpFlags::from_bits_retain(watch.clear.bits()),
        }
    }
}

impl From<Prefix> for wit::Prefix {
    fn from(prefix: Prefix) -> Self {
        Self { address: prefix.address.into(), length: prefix.length }
    }
}

impl<M: Memory> From<Verdict<M>> for wit::Verdict {
    fn from(verdict: Verdict<M>) -> Self {
        match verdict {
            Verdict::Ignore => Self::Ignore,
            Verdict::Remember(progress) => Self::Remember(progress.into()),
            Verdict::Forget(reason) => Self::Forget(reason.into_owned()),
            Verdict::Open { requests, remember } => Self::Open(wit::OpenVerdict {
                requests: requests.into_iter().map(Into::into).collect(),
                remember: remember.map(Into::into),
            }),
            Verdict::Close { requests, remember } => Self::Close(wit::CloseVerdict {
                requests: requests.into_iter().map(Into::into).collect(),
                remember: remember.map(Into::into),
            }),
        }
    }
}

impl<M: Memory> From<Progress<M>> for wit::Progress {
    fn from(Progress { stage, memory, until }: Progress<M>) -> Self {
        Self { stage, memory: memory.to_bytes(), until: until.as_micros() }
    }
}

impl From<OpenRequest> for wit::OpenRequest {
    fn from(request: OpenRequest) -> Self {
        Self {
            door: request.door,
            prefix_length: request.prefix_length,
            seconds: request.seconds,
            once: request.once.map(|once| match once {
                Once::Token { bytes, until } => {
                    wit::Once::Token(wit::Token { bytes, until: until.map(Timestamp::as_micros) })
                }
                Once::Counter { key, value } => wit::Once::Counter(wit::Counter { key, value }),
            }),
        }
    }
}

impl From<CloseRequest> for wit::CloseRequest {
    fn from(request: CloseRequest) -> Self {
        Self { door: request.door, prefix_length: request.prefix_length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_bridge() {
        for text in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fd00::211:22ff:fe33:4455"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(wit::Address::from(address)), address);
        }
        assert!(matches!(wit::Address::from(IpAddr::from([192, 0, 2, 1])), wit::Address::V4(0xC000_0201)));
        let documented: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(matches!(wit::Address::from(documented), wit::Address::V6((0x2001_0db8, 0, 0, 1))));
    }

    #[test]
    fn flags_have_the_same_bits_on_both_sides() {
        assert_eq!(wit::TcpFlags::SYN.bits(), TcpFlags::SYN.bits());
        assert_eq!(wit::TcpFlags::all().bits(), 0xFF);
        assert_eq!(wit::TcpFlags::CWR.bits(), TcpFlags::CWR.bits());
    }
}

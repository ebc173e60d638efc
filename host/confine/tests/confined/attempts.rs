//! What a child does: confines itself as it is told to, reports, then makes one attempt.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use postern_confine::{Account, Capabilities, CapabilitySet, Confinement, Files, Limits, SystemCalls};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The arguments: `KEY=VALUE` of the confinement, then the attempt and its own argument.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let mut confinement = Confinement::default();
    let mut attempt = ("wait", "");
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap();
        match key {
            "uid" => {
                confinement.account = Account { uid: value.parse().unwrap(), gid: value.parse().unwrap() }
            }
            "share" => confinement.may_share_user = value == "yes",
            "keep" => confinement.capabilities = kept(value),
            "files" if value == "all" => confinement.files = Files::All,
            "files" => confinement.files = Files::beneath([value]).unwrap(),
            "gain" => confinement.may_gain_privileges = value == "yes",
            "list" => confinement.system_calls = Some(list(value)),
            "limits" => confinement.limits = Limits::AS_THEY_ARE,
            "memory" => {
                let address_space = Some(value.parse().unwrap());
                confinement.limits = Limits { address_space, ..Limits::default() };
            }
            "without" => lack(value),
            "threads" => {
                std::thread::spawn(std::thread::park);
            }
            _ => attempt = (key, value),
        }
    }
    match confinement.apply() {
        Err(error) => say(&format!("refused: {error}")),
        Ok(held) => {
            for barrier in held.holding() {
                say(&format!("holds {barrier}"));
            }
            for missing in held.missing() {
                say(&format!("missing {missing}"));
            }
        }
    }
    let (name, argument) = attempt;
    let outcome = make(name, argument);
    say(&format!("{name}: {outcome}"));
    ExitCode::SUCCESS
}

fn say(line: &str) {
    println!("{line}");
}

fn kept(names: &str) -> Capabilities {
    match names {
        "net_admin" => Capabilities::Only(CapabilitySet::NET_ADMIN),
        "all" => Capabilities::All,
        other => panic!("no capability {other}"),
    }
}

/// From here on the kernel is one that does not have this.
fn lack(what: &str) {
    let (number, error) = match what {
        "landlock" => (nix::libc::SYS_landlock_create_ruleset, nix::libc::ENOSYS),
        "seccomp" => (nix::libc::SYS_seccomp, nix::libc::EINVAL),
        other => panic!("no kernel without {other}"),
    };
    let filter = SeccompFilter::new(
        [(number, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(error.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn list(name: &str) -> SystemCalls {
    match name {
        "doorman" => SystemCalls::Doorman,
        "engine" => SystemCalls::Engine,
        "compiler" => SystemCalls::Compiler,
        "reader" => SystemCalls::Reader,
        other => panic!("no list {other}"),
    }
}

fn make(attempt: &str, argument: &str) -> String {
    match attempt {
        // Until the parent has looked at what the kernel says of this process.
        "wait" => {
            say("waiting");
            told(std::io::stdin().read(&mut [0]).map(|_| ()))
        }
        "read" => told(File::open(argument).and_then(|mut file| file.read_to_end(&mut Vec::new()))),
        "write" => told(File::options().append(true).create(true).open(argument)),
        "remove" => told(std::fs::remove_file(argument)),
        "listen" => told(TcpListener::bind("127.0.0.1:0")),
        "datagrams" => told(UnixDatagram::unbound().or_else(|_| UnixDatagram::pair().map(|(one, _)| one))),
        "netlink" => told(netlink(argument.parse().unwrap())),
        "execute" => {
            let error = Command::new(argument).exec();
            told(Err::<(), _>(error))
        }
        "spawn" => told(Command::new(argument).spawn().and_then(|mut child| child.wait())),
        "thread" => told(
            std::thread::Builder::new()
                .spawn(|| 7)
                .map(|thread| thread.join().expect("a thread that returns")),
        ),
        "allocate" => {
            let mut memory = Vec::<u8>::new();
            match memory.try_reserve_exact(argument.parse().unwrap()) {
                Ok(()) => "done".to_owned(),
                Err(_) => "failed: no memory".to_owned(),
            }
        }
        "core" => match rustix::process::getrlimit(rustix::process::Resource::Core).maximum {
            Some(bytes) => bytes.to_string(),
            None => "unlimited".to_owned(),
        },
        "panic" => panic!("{argument}"),
        "abort" => std::process::abort(),
        // Known to every list, and on none.
        "sync" => {
            rustix::fs::sync();
            "done".to_owned()
        }
        "runtime" => told(runtime()),
        other => panic!("no attempt {other}"),
    }
}

/// Opens a netlink socket of this family.
fn netlink(family: u32) -> rustix::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
    let family = NonZeroU32::new(family).map(Protocol::from_raw);
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, family)
}

/// What an asynchronous runtime is made of.
fn runtime() -> rustix::io::Result<()> {
    use rustix::event::{EventfdFlags, epoll, eventfd};
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let event = eventfd(1, EventfdFlags::CLOEXEC)?;
    epoll::add(&poll, &event, epoll::EventData::new_u64(7), epoll::EventFlags::IN)?;
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
    let count = epoll::wait(&poll, &mut events, None)?;
    let (mut one, mut other) = std::os::unix::net::UnixStream::pair().map_err(|_| rustix::io::Errno::IO)?;
    one.write_all(b"x").map_err(|_| rustix::io::Errno::IO)?;
    other.read_exact(&mut [0]).map_err(|_| rustix::io::Errno::IO)?;
    if count == 1 { Ok(()) } else { Err(rustix::io::Errno::IO) }
}

fn told<T>(outcome: Result<T, impl Into<std::io::Error>>) -> String {
    match outcome.map_err(Into::into) {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("failed: {:?}", error.kind()),
    }
}

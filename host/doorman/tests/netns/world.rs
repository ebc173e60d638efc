//! World: a host and a client on one cable, in network namespaces of their own that vanish with it.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long something may take that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for something that must not happen.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) const HOST4: &str = "10.77.0.1";
pub(crate) const HOST6: &str = "fd77::1";
pub(crate) const CLIENT4: &str = "10.77.0.2";
pub(crate) const NEIGHBOUR4: &str = "10.77.0.3";
pub(crate) const CLIENT6: &str = "fd77::2";
pub(crate) const NEIGHBOUR6: &str = "fd77::3";

pub(crate) const HOST_LINK_LOCAL: &str = "fe80::a";

/// Two namespaces; the thread that made it is in the host's.
pub(crate) struct World {
    host: Namespace,
    client: Namespace,
}

struct Namespace {
    name: String,
    file: File,
}

/// A machine behind the host.
pub(crate) struct Inner {
    _listener: TcpListener,
    namespace: Namespace,
}

/// What became of an attempt to connect.
#[derive(Debug)]
pub(crate) enum Reach {
    Connected(TcpStream),
    Refused,
    Silence,
}

impl World {
    /// None, with the reason on stderr, if this machine does not let us; a failure where CI is set.
    pub(crate) fn new() -> Option<Self> {
        let reason = match Self::build() {
            Ok(world) => return Some(world),
            Err(reason) => reason,
        };
        eprintln!("skipped: no network namespaces here: {reason}");
        assert!(std::env::var_os("CI").is_none(), "a test that CI must run was skipped: {reason}");
        None
    }

    fn build() -> Result<Self, String> {
        let (host, client) = (Namespace::new("h")?, Namespace::new("c")?);
        let (h, c) = (host.name.as_str(), client.name.as_str());
        try_run(&format!("ip link add eth0 netns {h} type veth peer name eth0 netns {c}"))?;
        for (namespace, addresses) in [
            (h, vec![(HOST4, 24), (HOST6, 64)]),
            (c, vec![(CLIENT4, 24), (NEIGHBOUR4, 24), (CLIENT6, 64), (NEIGHBOUR6, 64)]),
        ] {
            for (address, length) in addresses {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                try_run(&format!("ip -n {namespace} address add {address}/{length} dev eth0 {nodad}"))?;
            }
            try_run(&format!("ip -n {namespace} link set lo up"))?;
            try_run(&format!("ip -n {namespace} link set eth0 up"))?;
        }
        host.enter().map_err(|error| error.to_string())?;
        Ok(Self { host, client })
    }

    /// Puts a machine, 10.78.0.2, behind the host, which forwards to it; it serves port 9090 as long as what is returned lives.
    pub(crate) fn put_behind_host(&self) -> Inner {
        let namespace = Namespace::new("i").unwrap();
        let (h, i) = (self.host.name.as_str(), namespace.name.as_str());
        run(&format!("ip link add inner netns {h} type veth peer name eth0 netns {i}"));
        run(&format!("ip -n {h} address add 10.78.0.1/24 dev inner"));
        run(&format!("ip -n {h} link set inner up"));
        run(&format!("ip -n {i} address add 10.78.0.2/24 dev eth0"));
        run(&format!("ip -n {i} link set eth0 up"));
        run(&format!("ip -n {i} route add default via 10.78.0.1"));
        run(&format!("ip -n {} route add 10.78.0.0/24 via {HOST4}", self.client.name));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let listener = in_namespace(&namespace, || TcpListener::bind(("10.78.0.2", 9090)).unwrap());
        Inner { _listener: listener, namespace }
    }

    /// Adds another cable, `eth1` on both sides; the client is fe80::c on both cables.
    pub(crate) fn second_cable(&self) {
        let (h, c) = (self.host.name.as_str(), self.client.name.as_str());
        run(&format!("ip link add eth1 netns {h} type veth peer name eth1 netns {c}"));
        for (namespace, interface) in [(h, "eth1"), (c, "eth1")] {
            run(&format!("ip -n {namespace} link set {interface} up"));
        }
        for interface in ["eth0", "eth1"] {
            run(&format!("ip -n {c} address add fe80::c/64 dev {interface} nodad"));
            run(&format!("ip -n {h} address add {HOST_LINK_LOCAL}/64 dev {interface} nodad"));
        }
    }

    /// Does something on the client.
    pub(crate) fn on_client<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        in_namespace(&self.client, act)
    }

    /// Tries to connect; patient if it must succeed.
    pub(crate) fn connect(&self, from: &str, to: (&str, u16)) -> Reach {
        let (from, to) = (from.parse().unwrap(), SocketAddr::new(to.0.parse().unwrap(), to.1));
        self.on_client(|| reach(from, to, SILENCE))
    }

    /// Connects or panics.
    pub(crate) fn must_connect(&self, from: &str, to: (&str, u16)) -> TcpStream {
        let (source, target) = (from.parse().unwrap(), SocketAddr::new(to.0.parse().unwrap(), to.1));
        match self.on_client(|| reach(source, target, PATIENCE)) {
            Reach::Connected(stream) => stream,
            other => panic!("{from} to {to:?}: {other:?}; {}", run("nft list ruleset")),
        }
    }

    /// Panics unless there is no answer at all.
    pub(crate) fn must_hear_nothing(&self, from: &str, to: (&str, u16)) {
        match self.connect(from, to) {
            Reach::Silence => {}
            other => panic!("{from} to {to:?}: {other:?}; {}", run("nft list ruleset")),
        }
    }

    /// Whether a datagram arrives at the receiver.
    pub(crate) fn datagram_arrives(
        &self,
        from: &str,
        to: (&str, u16),
        receiver: &UdpSocket,
        expected: bool,
    ) -> bool {
        let (from, to): (IpAddr, _) = (from.parse().unwrap(), SocketAddr::new(to.0.parse().unwrap(), to.1));
        self.on_client(|| UdpSocket::bind((from, 0)).unwrap().send_to(b"x", to).unwrap());
        receiver.set_read_timeout(Some(if expected { PATIENCE } else { SILENCE })).unwrap();
        receiver.recv(&mut [0; 8]).is_ok()
    }
}

impl Inner {
    /// Whether the machine behind gets a connection to a port of the host's.
    pub(crate) fn connects(&self, to: (&str, u16)) -> bool {
        let (from, to) = (IpAddr::from([10, 78, 0, 2]), SocketAddr::new(to.0.parse().unwrap(), to.1));
        matches!(in_namespace(&self.namespace, || reach(from, to, SILENCE)), Reach::Connected(_))
    }
}

impl Namespace {
    fn new(role: &str) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pd-{}-{}{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        try_run(&format!("ip netns add {name}"))?;
        let file = File::open(format!("/run/netns/{name}")).map_err(|error| error.to_string());
        file.map(|file| Self { name: name.clone(), file }).inspect_err(|_| {
            let _ = try_run(&format!("ip netns delete {name}"));
        })
    }

    fn enter(&self) -> io::Result<()> {
        use std::os::fd::AsFd as _;
        Ok(move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = try_run(&format!("ip netns delete {}", self.name)) {
            eprintln!("{error}");
        }
    }
}

fn in_namespace<T: Send>(namespace: &Namespace, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let act = || {
            namespace.enter().unwrap();
            act()
        };
        scope.spawn(act).join().unwrap()
    })
}

/// Runs a command in the namespace of this thread and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    try_run(command).unwrap()
}

/// Feeds a script to nft.
pub(crate) fn nft(script: &str) {
    try_nft(script).unwrap();
}

pub(crate) fn try_nft(script: &str) -> Result<(), String> {
    use std::io::Write as _;
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("nft: {error}"))?;
    nft.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    said(script, &nft.wait_with_output().unwrap()).map(drop)
}

/// Asks until the answer is yes, or fails.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn try_run(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    said(command, &output.map_err(|error| format!("{command}: {error}"))?)
}

fn said(command: &str, output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{command}: {}{}", text(&output.stderr), text(&output.stdout))),
    }
}

/// The index of an interface in the namespace of this thread.
pub(crate) fn index_of(interface: &str) -> u32 {
    run(&format!("ip -o link show {interface}")).split(':').next().unwrap().trim().parse().unwrap()
}

/// Connects from one address to another, at most so long.
pub(crate) fn reach(from: IpAddr, to: SocketAddr, patience: Duration) -> Reach {
    reach_from(SocketAddr::new(from, 0), to, patience)
}

/// As [`reach`], from an address with its link.
pub(crate) fn reach_from(from: SocketAddr, to: SocketAddr, patience: Duration) -> Reach {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None).unwrap();
    bind(&socket, &from).unwrap();
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => panic!("connect from {from} to {to}: {errno}"),
    }
    let patience = Timespec::try_from(patience).unwrap();
    if poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&patience)).unwrap() == 0 {
        return Reach::Silence;
    }
    match sockopt::socket_error(&socket).unwrap() {
        Ok(()) => {
            let stream = TcpStream::from(socket);
            stream.set_nonblocking(false).unwrap();
            Reach::Connected(stream)
        }
        Err(Errno::CONNREFUSED) => Reach::Refused,
        Err(errno) => panic!("connect from {from} to {to}: {errno}"),
    }
}

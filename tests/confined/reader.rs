//! The folder of a tenant, as a reader reads it, and what else it might want to.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Seek as _};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use postern_config::{FolderBounds, FolderFiles, Trust};
use postern_confine::{Files, SystemCalls};
use rustix::fs::inotify;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::process::{Uid, fchdir};
use rustix::thread::set_thread_res_uid;

use crate::{confine_to, may_change_user};

/// A folder of everybody's beneath one that is root's alone.
fn folder() -> OwnedFd {
    let root = tempfile::tempdir().unwrap().keep();
    let dir = root.join("tenant");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.toml"), "text").unwrap();
    fs::write(dir.join("a.wasm"), [7; 300_000]).unwrap();
    fs::write(dir.join("private"), "text").unwrap();
    fs::write(root.join("secret"), "text").unwrap();
    symlink("../secret", dir.join("link")).unwrap();
    for (name, mode) in
        [("", 0o755), ("a.toml", 0o644), ("a.wasm", 0o644), ("private", 0o600), ("../secret", 0o644)]
    {
        fs::set_permissions(dir.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
    let (folder, _) = Trust::Anybody.open_others_folder(&dir).unwrap();
    folder
}

fn files(folder: &OwnedFd) -> FolderFiles<'_> {
    FolderFiles { dir: folder.as_fd(), path: Path::new("tenant"), user: "", uid: 0, trust: Trust::Anybody }
}

/// What a reader is for.
pub(crate) fn read() -> String {
    let folder = folder();
    let inotify = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    let mut copy = File::from(memfd_create("copy", MemfdFlags::CLOEXEC).unwrap());
    confine_to(Files::Readable(vec![folder.try_clone().unwrap()]), SystemCalls::Reader);
    let files = files(&folder);
    fchdir(&folder).unwrap();
    inotify::add_watch(&inotify, ".", inotify::WatchFlags::CREATE).unwrap();
    let names = files.names(FolderBounds::LARGEST).unwrap();
    let text = files.text(&names[0], u64::MAX).unwrap();
    let copied = files.copy("a.wasm".as_ref(), 1 << 20, &mut copy).unwrap();
    let mut bytes = Vec::new();
    copy.rewind().unwrap();
    copy.read_to_end(&mut bytes).unwrap();
    assert_eq!((copied, bytes.len()), (300_000, 300_000));
    format!("{}: {text}, and a module", names[0].display())
}

/// What a reader that was taken over might try.
pub(crate) fn reach_nothing_else() -> String {
    let folder = folder();
    let is_another = may_change_user();
    confine_to(Files::Readable(vec![folder.try_clone().unwrap()]), SystemCalls::Reader);
    let open = |name: &str, flags| openat(&folder, name, flags, Mode::RUSR).is_ok();
    let tries: &[(&str, &dyn Fn() -> bool)] = &[
        ("a file above", &|| open("../secret", OFlags::RDONLY)),
        ("a file above, by a link", &|| open("link", OFlags::RDONLY)),
        ("a file of everybody's", &|| File::open("/etc/passwd").is_ok()),
        ("its own memory, as a file", &|| File::open("/proc/self/mem").is_ok()),
        ("root's file in the folder", &|| is_another && open("private", OFlags::RDONLY)),
        ("writing", &|| open("a.toml", OFlags::WRONLY)),
        ("a new file", &|| open("new", OFlags::WRONLY | OFlags::CREATE)),
        ("a link as a rule", &|| files(&folder).text(OsStr::new("link"), 9).is_ok()),
        ("a file in memory", &|| memfd_create("program", MemfdFlags::CLOEXEC).is_ok()),
        ("a socket", &|| UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("a program", &|| Command::new("/bin/true").spawn().is_ok()),
        ("another user", &|| set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()),
    ];
    let done: Vec<_> = tries.iter().filter(|(_, can)| can()).map(|(what, _)| *what).collect();
    if done.is_empty() { "nothing".to_owned() } else { done.join(", ") }
}

//! Who is kept from deciding who gets in: by owner, permissions, and each step of the way to a file.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use super::entry::{FileEntry, FileUse, Insiders, unknown_user};
use super::{OpenError, Trust};

/// A folder of ours in the common one for temporary files, with a file in it.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.set(".", 0o755);
        files.write("a.toml");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str) {
        fs::write(self.path(name), "text").unwrap();
        self.set(name, 0o644);
    }

    fn folder(&self, name: &str, mode: u32) {
        fs::create_dir(self.path(name)).unwrap();
        self.set(name, mode);
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    fn set(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Gives it to another user; false, with a message, where that is not allowed.
    fn give(&self, name: &str, user: u32) -> bool {
        let given = chown(self.path(name), Some(user), None);
        if let Err(error) = &given {
            eprintln!("skipped: cannot give a file to user {user} here: {error}");
        }
        given.is_ok()
    }

    /// What is said of a file, without the name of the folder; nothing if it is read.
    fn said(&self, trust: Trust, name: &str) -> String {
        let said = match trust.open(&self.path(name)) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, "text");
                String::new()
            }
            Err(OpenError::Distrust(distrust)) => format!("{}: {distrust}", distrust.path.display()),
            Err(OpenError::NotRegular) => "not regular".to_owned(),
            Err(OpenError::Unanswered) => "unanswered".to_owned(),
            Err(OpenError::Io(error)) => error.kind().to_string(),
        };
        let folder = self.dir.path().display().to_string();
        said.replace(&format!("{folder}/"), "").replace(&folder, "DIR")
    }

    fn check(&self, name: &str, expected: Expect) {
        expected.assert_eq(&self.said(Trust::Strict, name));
        // Who may write it is never asked if that is waived.
        if matches!(Trust::Strict.open(&self.path(name)), Err(OpenError::Distrust(_))) {
            assert_eq!(self.said(Trust::Anybody, name), "");
        }
    }
}

#[test]
fn a_file_of_ours_is_read() {
    let files = Files::new();
    files.check("a.toml", expect![""]);
    files.set("a.toml", 0o600);
    files.check("a.toml", expect![""]);
    files.check("none.toml", expect!["entity not found"]);
    files.check("a.toml/b.toml", expect!["not a directory"]);
    files.check(".", expect!["not regular"]);
}

#[test]
fn a_file_that_others_can_write_is_not_read() {
    let files = Files::new();
    files.set("a.toml", 0o646);
    files.check(
        "a.toml",
        expect!["a.toml: everybody may write it, and could change who gets in; chmod go-w a.toml"],
    );
    files.set("a.toml", 0o664);
    if chown(files.path("a.toml"), None, Some(100)).is_ok() {
        files.check(
            "a.toml",
            expect!["a.toml: group 100 may write it, and could change who gets in; chmod g-w a.toml"],
        );
    }
    if chown(files.path("a.toml"), None, Some(0)).is_ok() {
        files.check("a.toml", expect![""]);
    }
    if files.give("a.toml", 1234) {
        files.set("a.toml", 0o600);
        files.check(
            "a.toml",
            expect!["a.toml: belongs to user 1234, who could change who gets in; chown root a.toml"],
        );
    }
}

#[test]
fn a_folder_that_others_can_write_counts_for_what_is_below() {
    let files = Files::new();
    files.folder("open", 0o757);
    files.folder("open/closed", 0o755);
    files.write("open/closed/a.toml");
    let everybody = "open: everybody may write it, and could put other files there; chmod go-w open";
    assert_eq!(files.said(Trust::Strict, "open/closed/a.toml"), everybody);
    // Also when it is only passed through.
    assert_eq!(files.said(Trust::Strict, "open/../a.toml"), everybody);
    files.set("open", 0o755);
    files.check("open/closed/a.toml", expect![""]);
    if files.give("open", 1234) {
        files.check(
            "open/closed/a.toml",
            expect!["open: belongs to user 1234, who could put other files there; chown root open, or keep the files below a folder of root's, such as /etc/postern"],
        );
    }
}

#[test]
fn in_a_sticky_folder_the_owner_of_the_next_counts() {
    let files = Files::new();
    files.folder("shared", 0o1777);
    files.write("shared/a.toml");
    files.folder("shared/inner", 0o755);
    files.write("shared/inner/a.toml");
    files.link("inner", "shared/link");
    files.check("shared/a.toml", expect![""]);
    files.check("shared/inner/a.toml", expect![""]);
    files.check("shared/link/a.toml", expect![""]);
    if files.give("shared/inner", 1234) {
        files.check(
            "shared/inner/a.toml",
            expect!["shared/inner: belongs to user 1234, who could put other files there; chown root shared/inner, or keep the files below a folder of root's, such as /etc/postern"],
        );
    }
    // Another user's link there leads wherever that user likes, and can be changed later.
    files.link("../a.toml", "shared/theirs");
    if std::os::unix::fs::lchown(files.path("shared/theirs"), Some(1234), None).is_ok() {
        files.check(
            "shared/theirs",
            expect![
                "shared/theirs: belongs to user 1234, who could change who gets in; chown root shared/theirs"
            ],
        );
    }
}

#[test]
fn a_link_is_followed_and_every_step_of_it_counts() {
    let files = Files::new();
    files.folder("deep", 0o755);
    files.folder("deep/open", 0o777);
    files.folder("deep/open/closed", 0o755);
    files.write("deep/open/closed/a.toml");
    files.write("deep/b.toml");
    files.link("deep/open/closed/a.toml", "relative");
    files.link(files.path("deep/open/closed/a.toml").to_str().unwrap(), "absolute");
    files.link("deep", "folder");
    files.link("folder/b.toml", "two");
    files.link("./deep/../deep/b.toml", "winding");
    let open = "deep/open: everybody may write it, and could put other files there; chmod go-w deep/open";
    for name in ["relative", "absolute", "folder/open/closed/a.toml"] {
        assert_eq!(files.said(Trust::Strict, name), open, "{name}");
    }
    for name in ["folder/b.toml", "two", "winding"] {
        assert_eq!(files.said(Trust::Strict, name), "", "{name}");
    }
    files.link("round", "round");
    assert_eq!(files.said(Trust::Strict, "round"), files.said(Trust::Anybody, "round"));
    assert!(!files.said(Trust::Strict, "round").is_empty());
    files.link("nowhere", "dangling");
    files.check("dangling", expect!["entity not found"]);
}

#[test]
fn what_would_be_waited_for_is_not_opened() {
    let files = Files::new();
    mknodat(CWD, files.path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::os::unix::net::UnixListener::bind(files.path("socket")).unwrap();
    files.link("pipe", "link");
    files.link("/dev/null", "device");
    for name in ["pipe", "socket", "link", "device"] {
        for trust in [Trust::Strict, Trust::Anybody] {
            assert_eq!(files.said(trust, name), "not regular", "{name}");
        }
    }
}

#[test]
fn a_folder_is_looked_at_once_for_all_its_files() {
    let files = Files::new();
    files.write("b.toml");
    let folder = Trust::Strict.open_folder(files.dir.path()).unwrap();
    let mut names = folder.names().unwrap();
    names.sort();
    assert_eq!(names, ["a.toml", "b.toml"]);
    assert!(folder.open("a.toml".as_ref()).is_ok());
    files.set("b.toml", 0o666);
    assert!(
        matches!(folder.open("b.toml".as_ref()), Err(OpenError::Distrust(found)) if found.path == files.path("b.toml"))
    );
    files.set(".", 0o777);
    assert!(matches!(Trust::Strict.open_folder(files.dir.path()), Err(OpenError::Distrust(_))));
    assert!(Trust::Anybody.open_folder(files.dir.path()).is_ok());
    files.set(".", 0o755);
}

#[test]
fn a_remedy_can_be_pasted() {
    let files = Files::new();
    files.write("it's a rule.toml");
    files.set("it's a rule.toml", 0o666);
    let said = files.said(Trust::Strict, "it's a rule.toml");
    let quoted = r"it'\''s a rule.toml";
    assert!(said.ends_with(&format!("chmod go-w '{}'", quoted)), "{said}");
}

/// The group's bits are then the most that any user in the list gets.
#[test]
fn an_access_list_may_let_others_write() {
    let files = Files::new();
    files.set("a.toml", 0o664);
    let is_roots = chown(files.path("a.toml"), None, Some(0)).is_ok();
    // linux/posix_acl_xattr.h: version 2, then kind, permissions and number of each entry; user 1234 may write.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, 1234), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 4, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (kind, permissions, number) in entries {
        list.extend(kind.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(number.to_le_bytes());
    }
    let set = setxattr(files.path("a.toml"), "system.posix_acl_access", &list, XattrFlags::empty());
    if !is_roots || set.is_err() {
        eprintln!("skipped: no access lists here: {set:?}");
        return;
    }
    files.check(
        "a.toml",
        expect![
            "a.toml: its access list may let others write it, who could change who gets in; setfacl -b a.toml"
        ],
    );
}

/// The kinds that a test cannot make everywhere.
#[test]
fn owners_by_number() {
    let file = FileEntry { owner: 0, group: 0, mode: 0o100_644, is_folder: false, has_list: false };
    let folder = FileEntry { mode: 0o040_755, is_folder: true, ..file };
    let path = Path::new("x");
    let said = |entry: FileEntry, insiders, in_shared| {
        entry.check(path, insiders, in_shared, FileUse::Reads).is_ok()
    };
    let root = Insiders::new(0, None);
    let daemon = Insiders::new(990, None);
    for entry in [file, folder] {
        assert!(said(entry, root, false) && said(entry, daemon, true));
        let own = FileEntry { owner: 990, ..entry };
        assert!(said(own, daemon, false) && !said(own, root, false));
        assert!(!said(FileEntry { owner: 65534, ..entry }, root, false));
    }
    // Root outside cannot be told from other users outside: root's folders are above ours, but files are ours.
    let inside = Insiders::new(0, Some(65534));
    assert!(said(FileEntry { owner: 65534, ..folder }, inside, false));
    assert!(!said(FileEntry { owner: 65534, ..folder }, inside, true));
    assert!(!said(FileEntry { owner: 65534, ..file }, inside, false));
    assert!(!said(FileEntry { owner: 65534, mode: 0o040_777, ..folder }, inside, false));
    let runs =
        |entry: FileEntry, insiders, in_shared| entry.check(path, insiders, in_shared, FileUse::Runs).is_ok();
    let outsiders = FileEntry { owner: 65534, ..file };
    assert!(
        runs(outsiders, inside, false) && !runs(outsiders, inside, true) && !runs(outsiders, root, false)
    );
    let lamp = FileEntry { owner: 1000, ..file };
    assert!(!runs(lamp, root, false) && runs(lamp, root.and(Some(1000)), true));
    let listed = FileEntry { mode: 0o100_664, has_list: true, ..file };
    let refused = listed.check(path, root, false, FileUse::Reads).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "its access list may let others write it, who could change who gets in; setfacl -b x"
    );
}

#[test]
fn whom_a_user_namespace_does_not_know() {
    assert_eq!(unknown_user(65534, "         0          0 4294967295\n"), None);
    assert_eq!(unknown_user(65534, "         0       1000          1\n"), Some(65534));
    assert_eq!(unknown_user(65534, "0 1000 1\n1 100000 65536\n"), None);
    assert_eq!(unknown_user(65534, ""), Some(65534));
    assert_eq!(unknown_user(65534, "what is this\n"), None);
}

#[test]
fn a_folder_of_anybody_is_opened_if_nobody_could_have_put_another_there() {
    let files = Files::new();
    files.folder("tenant", 0o777);
    files.folder("tenant/inner", 0o755);
    files.folder("shared", 0o1777);
    files.folder("shared/theirs", 0o700);
    files.link("tenant", "link");
    let said = |name: &str| match Trust::Strict.open_others_folder(&files.path(name)) {
        Ok((_, inode)) => {
            let stat = rustix::fs::stat(files.path(name)).unwrap();
            assert_eq!(inode, (stat.st_dev, stat.st_ino), "{name}");
            String::new()
        }
        Err(OpenError::Distrust(distrust)) => {
            distrust.path.strip_prefix(files.dir.path()).unwrap().display().to_string()
        }
        Err(OpenError::Io(error)) => error.kind().to_string(),
        Err(other) => panic!("{other:?}"),
    };
    for name in ["tenant", "link", "tenant/", "shared/theirs", "shared/../tenant"] {
        assert_eq!(said(name), "", "{name}");
    }
    for name in ["tenant/inner", "tenant/../shared", "link/inner", "tenant/inner/."] {
        assert_eq!(said(name), "tenant", "{name}");
    }
    assert_eq!((&*said("a.toml"), &*said("none")), ("not a directory", "entity not found"));
    for name in ["tenant", "shared/theirs"] {
        if files.give(name, 1234) {
            assert_eq!(said(name), "", "{name}");
        }
    }
    // A link there is whoever's it is, who could have it lead elsewhere.
    files.link("../tenant", "shared/way");
    if std::os::unix::fs::lchown(files.path("shared/way"), Some(1234), None).is_ok() {
        assert_eq!(said("shared/way"), "shared/way");
    }
}

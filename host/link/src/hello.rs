//! Hello: the first message in either direction. Two ends that are not the same program end the link.

use std::io;
use std::path::Path;

use rustix::fs::stat;

use crate::bytes::{get_u32, get_u64, put};

/// The version of the layout of all messages; another one whenever a byte changes its meaning.
pub const LAYOUT: u32 = 2;

const AT_LAYOUT: usize = 4;
const AT_DEVICE: usize = 8;
const AT_INODE: usize = 16;
const AT_SIZE: usize = 24;
const AT_CHANGED: usize = 32;
/// Behind the last field.
pub(crate) const HELLO_END: usize = 40;

/// Which program runs: its file, as the kernel knows it. An upgrade puts another file in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildId {
    device: u64,
    inode: u64,
    size: u64,
    /// When the file was last written, in nanoseconds since 1970; as 64 bits, whatever it wraps to.
    changed: u64,
}

impl BuildId {
    /// That of the running process.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub fn of_this_process() -> io::Result<Self> {
        Self::of_file(Path::new("/proc/self/exe"))
    }

    fn of_file(file: &Path) -> io::Result<Self> {
        let stat = stat(file)?;
        let seconds = stat.st_mtime.cast_unsigned();
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            changed: seconds.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec),
        })
    }
}

/// What either end says first.
///
/// ```text
///  0  u8   kind, as of every message
///  4  u32  version of the layout
///  8  u64  device of the program's file
/// 16  u64  its inode
/// 24  u64  its size in bytes
/// 32  u64  when it was written, in nanoseconds since 1970
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the layout.
    pub layout: u32,
    /// The program.
    pub build: BuildId,
}

impl Hello {
    /// What this process says.
    ///
    /// # Errors
    /// As of [`BuildId::of_this_process`].
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self { layout: LAYOUT, build: BuildId::of_this_process()? })
    }

    pub(crate) fn write(&self, bytes: &mut [u8]) {
        put(bytes, AT_LAYOUT, self.layout.to_le_bytes());
        put(bytes, AT_DEVICE, self.build.device.to_le_bytes());
        put(bytes, AT_INODE, self.build.inode.to_le_bytes());
        put(bytes, AT_SIZE, self.build.size.to_le_bytes());
        put(bytes, AT_CHANGED, self.build.changed.to_le_bytes());
    }

    pub(crate) fn read(bytes: &[u8]) -> Self {
        let build = BuildId {
            device: get_u64(bytes, AT_DEVICE),
            inode: get_u64(bytes, AT_INODE),
            size: get_u64(bytes, AT_SIZE),
            changed: get_u64(bytes, AT_CHANGED),
        };
        Self { layout: get_u32(bytes, AT_LAYOUT), build }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_same_as_itself_and_another_file_is_another() {
        let own = BuildId::of_this_process().unwrap();
        assert_eq!(own, BuildId::of_file(&std::env::current_exe().unwrap()).unwrap());
        assert_ne!(own, BuildId::of_file(Path::new("/proc/self/status")).unwrap());
    }
}

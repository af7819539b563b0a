//! Unix sockets that are left in the file system when nobody listens at them any more.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Where the directories of agents are, with the beginning of their names.
const AGENTS: &str = "/tmp/meshd-";

/// A path for the directory of an agent.
pub(crate) fn agent_directory(random: u64) -> PathBuf {
    PathBuf::from(format!("{AGENTS}{random:016x}"))
}

/// Removes a socket of this user's at which nobody listens, and the directory of an agent with it.
pub(crate) fn remove(path: &Path) {
    if is_left(path) {
        let _ = fs::remove_file(path);
    }
    let directory = path.parent().filter(|directory| {
        let name = directory.as_os_str().as_encoded_bytes();
        name.starts_with(AGENTS.as_bytes())
    });
    if let Some(directory) = directory {
        let _ = fs::remove_dir(directory);
    }
}

/// Whether there is a socket of this user's that refuses connections.
pub(crate) fn is_left(path: &Path) -> bool {
    let Ok(file) = fs::symlink_metadata(path) else {
        return false;
    };
    let own = file.file_type().is_socket() && file.uid() == nix::unistd::geteuid().as_raw();
    own && refuses(path) == Ok(true)
}

fn refuses(path: &Path) -> nix::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let asked = connect(asking.as_raw_fd(), &UnixAddr::new(path)?);
    Ok(asked == Err(Errno::ECONNREFUSED))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    /// A directory that ends with the test.
    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn directory(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("left-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    #[test]
    fn only_a_socket_that_nobody_listens_at_is_left() {
        let place = directory("socket");
        let path = place.0.join("socket");
        assert!(!is_left(&path));
        let listener = UnixListener::bind(&path).expect("it listens");
        assert!(!is_left(&path));
        drop(listener);
        assert!(is_left(&path));
        remove(&path);
        assert!(!path.exists());
        let _datagrams = UnixDatagram::bind(&path).expect("another kind");
        assert!(!is_left(&path));
        let file = place.0.join("file");
        fs::write(&file, "").expect("a file");
        remove(&file);
        assert!(file.exists());
    }

    #[test]
    fn a_link_to_what_is_left_is_not() {
        let place = directory("link");
        let (path, link) = (place.0.join("socket"), place.0.join("link"));
        drop(UnixListener::bind(&path).expect("it listens"));
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert!(is_left(&path) && !is_left(&link));
    }
}

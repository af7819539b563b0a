//! A host's own root directory: an overlay of this machine's, or of another, written to memory.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{chdir, pivot_root};

use crate::Result;
use crate::error::Doing;

/// Exists on every system, and in a host's own mount namespace nobody misses what it hides.
const WORKSHOP: &str = "/mnt";

/// Directories that begin empty, so that no host sees this machine's homes, sockets and files of
/// the day.
const EMPTY: [(&str, &str); 6] = [
    ("tmp", "mode=1777"),
    ("var/tmp", "mode=1777"),
    ("run", "mode=755"),
    ("root", "mode=700"),
    ("home", "mode=755"),
    ("dev", "mode=755"),
];

const DEVICES: [(&str, u64, u64); 8] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("fuse", 10, 229),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("net/tun", 10, 200),
];

/// Makes the root of a host above the directory `lower`, with `programs` (source, place) in it,
/// and moves there.
pub(super) fn make(lower: &Path, programs: &[(PathBuf, PathBuf)]) -> Result<()> {
    umask(Mode::empty());
    mount_over("/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    let sources = open_all(programs)?;
    let root = overlay(&open_path(lower)?)?;
    for (directory, options) in EMPTY {
        make_directory(&root.join(directory))?;
        mount_new("tmpfs", &root.join(directory), Some(options))?;
    }
    mount_new("proc", &root.join("proc"), None)?;
    mount_new("sysfs", &root.join("sys"), None)?;
    make_devices(&root.join("dev"))?;
    for (source, (_, place)) in sources.iter().zip(programs) {
        place_program(source, &root.join(place.strip_prefix("/").unwrap_or(place)))?;
    }
    move_into(&root)?;
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

/// A path may lie below what [`WORKSHOP`] is about to hide.
fn open_all(programs: &[(PathBuf, PathBuf)]) -> Result<Vec<File>> {
    programs
        .iter()
        .map(|(source, _)| open_path(source))
        .collect()
}

fn open_path(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH)
        .open(path)
        .doing(|| format!("open {}", path.display()))
}

fn overlay(lower: &File) -> Result<PathBuf> {
    let workshop = Path::new(WORKSHOP);
    mount_new("tmpfs", workshop, Some("mode=755"))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| workshop.join(name));
    for directory in [&upper, &work, &root] {
        make_directory(directory)?;
    }
    let options = format!(
        "lowerdir=/proc/self/fd/{},upperdir={},workdir={}",
        lower.as_raw_fd(),
        upper.display(),
        work.display()
    );
    mount_new("overlay", &root, Some(&options))?;
    Ok(root)
}

fn make_devices(dev: &Path) -> Result<()> {
    for directory in ["pts", "shm", "net"] {
        make_directory(&dev.join(directory))?;
    }
    let open_to_all = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in DEVICES {
        mknod(
            &dev.join(name),
            SFlag::S_IFCHR,
            open_to_all,
            makedev(major, minor),
        )
        .doing(|| format!("make the device {name}"))?;
    }
    let terminals = "newinstance,gid=5,mode=620,ptmxmode=666";
    mount_new("devpts", &dev.join("pts"), Some(terminals))?;
    mount_new("tmpfs", &dev.join("shm"), Some("mode=1777"))?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).doing(|| format!("link /dev/{name}"))?;
    }
    Ok(())
}

/// A file of root's is used where it lies, and cannot be written to; any other is copied, because
/// nothing that runs as root may belong to somebody else.
fn place_program(source: &File, place: &Path) -> Result<()> {
    let doing = || format!("place {}", place.display());
    let handle = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    make_directory(place.parent().unwrap_or(Path::new("/")))?;
    let owner = std::os::unix::fs::MetadataExt::uid(&source.metadata().doing(doing)?);
    if owner != 0 {
        fs::copy(&handle, place).doing(doing)?;
        return fs::set_permissions(place, PermissionsExt::from_mode(0o755)).doing(doing);
    }
    File::create(place).doing(doing)?;
    mount_over(place, Some(&handle), MsFlags::MS_BIND, None)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount_over(place, None, read_only, None)
}

fn move_into(root: &Path) -> Result<()> {
    chdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .doing(|| "make the host's directory its root".to_owned())
}

fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .doing(|| format!("make the directory {}", path.display()))
}

pub(super) fn mount_new(kind: &str, target: &Path, options: Option<&str>) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
        .doing(|| format!("mount {kind} on {}", target.display()))
}

pub(super) fn mount_over(
    target: impl AsRef<Path>,
    source: Option<&Path>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<()> {
    let target = target.as_ref();
    mount(source, target, None::<&str>, flags, options)
        .doing(|| format!("mount on {}", target.display()))
}

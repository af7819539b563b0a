//! The line of a file as `ls -l` has it, which clients show to people.

use std::fs::Metadata;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Files of the last half of a year have a time of day, others a year.
const HALF_A_YEAR: i64 = 365 * 24 * 60 * 60 / 2;

/// The time, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(i64);

impl Clock {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| since.as_secs() as i64))
    }
}

/// The line: mode, links, user, group, size, date and name.
pub(super) fn long_name(
    name: &[u8],
    file: &Metadata,
    user: &str,
    group: &str,
    clock: Clock,
) -> Vec<u8> {
    let (mode, date) = (mode(file.mode()), date(file.mtime(), clock));
    let (links, size) = (file.nlink(), file.size());
    let mut line = format!("{mode}  {links:3} {user:<8} {group:<8} {size:8} {date} ").into_bytes();
    line.extend(name);
    line
}

fn mode(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    for (class, (bit, with, without)) in special.into_iter().enumerate() {
        let rights = mode >> (6 - 3 * class);
        text.push(if rights & 4 != 0 { 'r' } else { '-' });
        text.push(if rights & 2 != 0 { 'w' } else { '-' });
        text.push(match (rights & 1 != 0, mode & bit != 0) {
            (true, true) => with,
            (false, true) => without,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn date(time: i64, Clock(now): Clock) -> String {
    let Some(local) = local_time(time) else {
        return String::new();
    };
    let month = usize::try_from(local.tm_mon).ok();
    let month = month.and_then(|month| MONTHS.get(month)).unwrap_or(&"???");
    let day = local.tm_mday;
    if time <= now && time > now - HALF_A_YEAR {
        return format!("{month} {day:2} {:02}:{:02}", local.tm_hour, local.tm_min);
    }
    format!("{month} {day:2}  {}", i64::from(local.tm_year) + 1900)
}

/// The calendar of this host's time zone.
#[allow(unsafe_code)]
fn local_time(time: i64) -> Option<libc::tm> {
    let mut local = MaybeUninit::uninit();
    // SAFETY: both pointers are to values of this function's; the second is filled in before it
    // is read, as the call says by returning it (localtime_r(3)).
    unsafe {
        let filled = libc::localtime_r(&raw const time, local.as_mut_ptr());
        (!filled.is_null()).then(|| local.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        assert_eq!(mode(0o100644), "-rw-r--r--");
        assert_eq!(mode(0o104755), "-rwsr-xr-x");
        assert_eq!(mode(0o102644), "-rw-r-Sr--");
        assert_eq!(mode(0o041777), "drwxrwxrwt");
        assert_eq!(mode(0o041776), "drwxrwxrwT");
        assert_eq!(mode(0o120777), "lrwxrwxrwx");
    }
}

//! Names of users and groups, each looked up once.

use std::collections::BTreeMap;

use nix::unistd::{Gid, Group, Uid, User};

use super::buffer::Buffer;
use super::fields::Fields;
use super::packets::LONGEST;
use super::replies::Body;
use super::requests::{Answered, Outcome, Request, Server};
use super::status::{Refusal, Status};

/// The most names that are kept of each kind.
const MOST: usize = 4096;

/// What has been looked up; none for a number without a name.
#[derive(Default)]
pub(super) struct Accounts {
    users: BTreeMap<u32, Option<String>>,
    groups: BTreeMap<u32, Option<String>>,
}

impl Accounts {
    pub(super) fn user_or_number(&mut self, uid: u32) -> String {
        self.user(uid).unwrap_or_else(|| uid.to_string())
    }

    pub(super) fn group_or_number(&mut self, gid: u32) -> String {
        self.group(gid).unwrap_or_else(|| gid.to_string())
    }

    fn user(&mut self, uid: u32) -> Option<String> {
        remembered(&mut self.users, uid, || {
            let user = User::from_uid(Uid::from_raw(uid)).ok()??;
            Some(user.name)
        })
    }

    fn group(&mut self, gid: u32) -> Option<String> {
        remembered(&mut self.groups, gid, || {
            let group = Group::from_gid(Gid::from_raw(gid)).ok()??;
            Some(group.name)
        })
    }
}

fn remembered(
    names: &mut BTreeMap<u32, Option<String>>,
    number: u32,
    look_up: impl FnOnce() -> Option<String>,
) -> Option<String> {
    if names.len() >= MOST {
        names.clear();
    }
    names.entry(number).or_insert_with(look_up).clone()
}

impl Server {
    /// `users-groups-by-id@openssh.com`: a list of names for each list of numbers; empty where
    /// there is none.
    pub(super) fn users_groups_by_id(&mut self, mut request: Request<'_>) -> Outcome {
        let users = numbers(request.fields.bytes()?)?;
        let groups = numbers(request.fields.bytes()?)?;
        let users = users.into_iter().map(|uid| self.accounts.user(uid));
        let users = list(users.map(Option::unwrap_or_default))?;
        let groups = groups.into_iter().map(|gid| self.accounts.group(gid));
        let groups = list(groups.map(Option::unwrap_or_default))?;
        request.replies.extended(request.id, |body| {
            body.string(users.bytes());
            body.string(groups.bytes());
        });
        Ok(Answered::Already)
    }

    /// `home-directory`.
    pub(super) fn home_directory(mut request: Request<'_>) -> Outcome {
        let home = home_of(request.fields.bytes()?);
        let home = home.ok_or_else(|| Refusal::new(Status::Failure, "No such user"))?;
        request.replies.name(request.id, &home);
        Ok(Answered::Already)
    }
}

/// The home of an account, as the user database has it.
pub(super) fn home_of(name: &[u8]) -> Option<Vec<u8>> {
    let name = std::str::from_utf8(name).ok()?;
    let user = User::from_name(name).ok()??;
    Some(user.dir.into_os_string().into_encoded_bytes())
}

fn numbers(list: &[u8]) -> Result<Vec<u32>, Refusal> {
    let mut fields = Fields::of(list);
    let mut numbers = Vec::new();
    while !fields.is_empty() {
        numbers.push(fields.number()?);
    }
    Ok(numbers)
}

/// Both lists fit into one packet.
fn list(names: impl Iterator<Item = String>) -> Result<Buffer, Refusal> {
    let mut bytes = Buffer::default();
    for name in names {
        Body::of(&mut bytes).string(name.as_bytes());
        if bytes.len() > LONGEST / 2 - 1024 {
            return Err(Refusal::new(Status::Failure, "Too many numbers at once"));
        }
    }
    Ok(bytes)
}

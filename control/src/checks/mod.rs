//! Checks: logins that wait for a recent sign-in, and control's word that there was one.
//!
//! A check is asked for by the node that a login is for, and answered on a page by the owner of
//! the node that it comes from. What was approved is remembered, and how long it lasts is worked
//! out anew each time, by the rule that asks then.

mod api;
mod numbers;
mod own;
mod pages;
mod taking_back;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshd_contract::check::{
    CheckGrant, CheckNeed, CheckRefusal, DEFAULT_CHECK_SECONDS, HOLD_SECONDS, LoginClass, Prompt,
};
use meshd_contract::document::{Header, Version};
use meshd_contract::identity::{NodeId, Owner};
use meshd_contract::node_api::{AheadRequest, CHECK_WAIT_SECONDS, CheckState};
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::signed;
use meshd_contract::ssh_rule::{Action, CheckPeriod};
use meshd_contract::time::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::audit::Actor;
use crate::clock::now;
use crate::hub::Hub;
use crate::hub::Versions;
use crate::problem::ApiError;
use crate::public_url::PublicUrl;
use crate::signer::Signer;
use crate::store::{Answer, Approval, Check, Kind, NodeRow, Period, Store, StoreError, Subject};

pub(crate) use api::router;
pub(crate) use pages::pages;

/// No approval lasts for longer: the longest period that a rule may have, in seconds.
const LONGEST_SECONDS: u64 = 168 * 3600;

/// All checks of the mesh.
pub(crate) struct Checks {
    store: Store,
    hub: Arc<Hub>,
    signer: Arc<Signer>,
    url: PublicUrl,
    /// Changes with every answer.
    answered: watch::Sender<u64>,
}

/// What a login needs, as control itself sees it.
struct Needed<'a> {
    source: &'a NodeRow,
    destination: &'a NodeRow,
    owner: &'a str,
    class: LoginClass,
    rule: &'a str,
    period: Period,
    connection: &'a str,
}

impl Checks {
    /// The checks in `store`; `signer` signs grants, people find pages under `url`, and nodes hear by
    /// `hub` of what is taken back.
    pub(crate) fn new(
        store: Store,
        hub: Arc<Hub>,
        signer: Arc<Signer>,
        url: PublicUrl,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            hub,
            signer,
            url,
            answered: watch::Sender::new(0),
        })
    }

    /// A login at `destination` needs a check: what was approved before may do.
    async fn ask(&self, destination: NodeId, need: &CheckNeed) -> Result<CheckState, ApiError> {
        let refused = |reason| Ok(CheckState::Refused { reason });
        let Some((source, destination)) = self.nodes(need.source, destination).await? else {
            return refused(CheckRefusal::NotAsked);
        };
        let Owner::User(owner) = &source.owner else {
            return refused(CheckRefusal::NoOwner);
        };
        let Some(period) = self.period(destination.id, source.id, &need.rule).await? else {
            return refused(CheckRefusal::NotAsked);
        };
        let needed = Needed {
            source: &source,
            destination: &destination,
            owner,
            class: need.class,
            rule: &need.rule,
            period,
            connection: &need.connection,
        };
        if let Some(grant) = self.grant(&needed).await? {
            return Ok(CheckState::Granted { grant });
        }
        let subject = Subject::Login {
            destination: destination.id,
            login: need.login.to_string(),
            rule: need.rule.clone(),
            period,
            connection: (period == Period::Always).then(|| need.connection.clone()),
        };
        let begun = self.begin(&source, owner, need.class, subject).await?;
        // The answer to an earlier question may have come since it was looked for.
        match (self.grant(&needed).await?, &begun) {
            (Some(grant), CheckState::Waiting { id, .. }) => {
                self.end(destination.id, id).await?;
                Ok(CheckState::Granted { grant })
            }
            _ => Ok(begun),
        }
    }

    /// The owner of `source` wants to be asked now for the logins of the next minutes.
    async fn ask_ahead(&self, source: NodeId, wish: &AheadRequest) -> Result<CheckState, ApiError> {
        let seconds = wish.seconds;
        if seconds == 0 || seconds > LONGEST_SECONDS {
            let sentence = format!("a check lasts from 1 to {LONGEST_SECONDS} seconds");
            return Err(ApiError::Malformed(sentence));
        }
        let node = self.node(source).await?.ok_or(ApiError::Gone)?;
        let Owner::User(owner) = &node.owner else {
            let reason = CheckRefusal::NoOwner;
            return Ok(CheckState::Refused { reason });
        };
        if let Some(target) = &wish.target
            && !target.starts_with("tag:")
        {
            self.store.find_node(target).await?;
        }
        let subject = Subject::Ahead {
            seconds,
            target: wish.target.clone(),
        };
        self.begin(&node, owner, wish.class, subject).await
    }

    async fn begin(
        &self,
        source: &NodeRow,
        owner: &str,
        class: LoginClass,
        subject: Subject,
    ) -> Result<CheckState, ApiError> {
        let (number, choices) = numbers::draw().map_err(|_| ApiError::Busy)?;
        let created_at = now();
        let check = Check {
            id: random_id()?,
            source: source.id,
            wireguard_key: source.wireguard_key,
            owner: owner.to_owned(),
            class,
            subject,
            number,
            choices,
            created_at,
            expires_at: created_at.plus(HOLD_SECONDS),
            outcome: None,
        };
        let check = self.store.begin_check(&check).await?;
        tracing::info!(source = %source.name, owner, %class, "a check was asked for");
        Ok(self.waiting(&check))
    }

    fn waiting(&self, check: &Check) -> CheckState {
        CheckState::Waiting {
            id: check.id.clone(),
            prompt: Prompt {
                url: self.url.at(&format!("/check/{}", check.id)),
                number: check.number,
            },
        }
    }

    /// What has become of a check, as soon as something has, and after a while in any case.
    async fn wait(&self, node: NodeId, id: &str, connection: &str) -> Result<CheckState, ApiError> {
        let mut answered = self.answered.subscribe();
        let patience = Duration::from_secs(CHECK_WAIT_SECONDS);
        let settled = async {
            loop {
                answered.mark_unchanged();
                match self.state(node, id, connection).await {
                    Ok(CheckState::Waiting { .. }) => {}
                    settled => return settled,
                }
                if answered.changed().await.is_err() {
                    return Err(ApiError::Busy);
                }
            }
        };
        match timeout(patience, settled).await {
            Ok(settled) => settled,
            Err(_) => self.state(node, id, connection).await,
        }
    }

    async fn state(
        &self,
        node: NodeId,
        id: &str,
        connection: &str,
    ) -> Result<CheckState, ApiError> {
        let check = self.store.check(id).await?;
        let check = check.filter(|check| check.waits_at() == node);
        let check = check.ok_or(ApiError::NotFound)?;
        let refused = |reason| Ok(CheckState::Refused { reason });
        match check.outcome {
            None | Some(Answer::Approved) => {}
            Some(Answer::Refused) => return refused(CheckRefusal::Refused),
            Some(Answer::WrongPerson) => return refused(CheckRefusal::WrongPerson),
            Some(Answer::WrongNumber) => return refused(CheckRefusal::WrongNumber),
            Some(Answer::Ended) => return Err(ApiError::NotFound),
        }
        if let Some(state) = self.settled(&check, connection).await? {
            return Ok(state);
        }
        if check.outcome.is_some() {
            return refused(CheckRefusal::NotAsked);
        }
        if check.expires_at <= now() {
            return refused(CheckRefusal::Expired);
        }
        Ok(self.waiting(&check))
    }

    /// What this check, or another one that does for it too, has opened.
    async fn settled(
        &self,
        check: &Check,
        connection: &str,
    ) -> Result<Option<CheckState>, ApiError> {
        let (destination, rule) = match &check.subject {
            Subject::Ahead { seconds, .. } => {
                let is_approved = check.outcome == Some(Answer::Approved);
                let until = now().plus(*seconds);
                return Ok(is_approved.then_some(CheckState::Approved { until }));
            }
            Subject::Login {
                destination, rule, ..
            } => (*destination, rule),
        };
        let Some((source, destination)) = self.nodes(check.source, destination).await? else {
            return Ok(None);
        };
        // The rule may be another one than when the login began to wait.
        let Some(period) = self.period(destination.id, source.id, rule).await? else {
            return Ok(None);
        };
        if source.owner != Owner::User(check.owner.clone()) {
            return Ok(None);
        }
        let needed = Needed {
            source: &source,
            destination: &destination,
            owner: &check.owner,
            class: check.class,
            rule,
            period,
            connection,
        };
        let grant = self.grant(&needed).await?;
        Ok(grant.map(|grant| CheckState::Granted { grant }))
    }

    /// Nobody waits any more.
    async fn end(&self, node: NodeId, id: &str) -> Result<(), ApiError> {
        let check = self.store.check(id).await?;
        if let Some(check) = check.filter(|check| check.waits_at() == node) {
            let by = Actor::Node(node);
            self.store
                .answer_check(&check, Answer::Ended, None, now(), &by)
                .await?;
        }
        Ok(())
    }

    /// The answer of the user `by` to a check that waits: the number that was chosen, or none for a
    /// refusal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn answer(
        &self,
        check: &Check,
        by: &str,
        chosen: Option<u16>,
    ) -> Result<Option<Answer>, StoreError> {
        let answer = match chosen {
            _ if by != check.owner => Answer::WrongPerson,
            None => Answer::Refused,
            Some(number) if number != check.number => Answer::WrongNumber,
            Some(_) => Answer::Approved,
        };
        let at = now();
        let approval = (answer == Answer::Approved).then(|| check.approval(at));
        let actor = Actor::User(by.to_owned());
        let counts = self
            .store
            .answer_check(check, answer, approval.as_ref(), at, &actor)
            .await?;
        if !counts {
            return Ok(None);
        }
        tracing::info!(check = check.id, by, ?answer, "a check was answered");
        self.answered.send_modify(|count| *count += 1);
        Ok(Some(answer))
    }

    async fn grant(&self, needed: &Needed<'_>) -> Result<Option<String>, ApiError> {
        let at = now();
        let approvals = self.store.approvals(needed.source.id, at).await?;
        let best = approvals
            .iter()
            .filter_map(|approval| Some((needed.end_of(approval)?, approval)))
            .filter(|(end, _)| at < *end)
            .max_by_key(|(end, _)| *end);
        let Some((expires_at, approval)) = best else {
            return Ok(None);
        };
        let grant = CheckGrant {
            header: Header {
                node: needed.destination.id,
                version: Version(approval.id),
                issued_at: at,
                expires_at,
            },
            source: needed.source.id,
            wireguard_key: needed.source.wireguard_key,
            owner: needed.owner.to_owned(),
            class: needed.class,
            rule: needed.rule.to_owned(),
            approved_at: approval.approved_at,
            connection: (needed.period == Period::Always).then(|| needed.connection.to_owned()),
        };
        let sealed = signed::seal(&grant, &self.signer.current().key);
        sealed
            .map(Some)
            .map_err(|error| StoreError::Content(error.to_string()).into())
    }

    async fn nodes(
        &self,
        source: NodeId,
        destination: NodeId,
    ) -> Result<Option<(NodeRow, NodeRow)>, ApiError> {
        let (source, destination) = (self.node(source).await?, self.node(destination).await?);
        Ok(source.zip(destination))
    }

    async fn node(&self, id: NodeId) -> Result<Option<NodeRow>, ApiError> {
        Ok(self.store.node(id).await?)
    }

    /// How recent a sign-in the rule wants at the node, by the newest document that it has from
    /// control; none where the rule asks for no check of this source.
    async fn period(
        &self,
        destination: NodeId,
        source: NodeId,
        rule: &str,
    ) -> Result<Option<Period>, ApiError> {
        let newest = self
            .store
            .newer_documents(destination, Versions::NONE, now());
        let Some((Kind::Peers, _, text)) = newest.await?.into_iter().next() else {
            return Ok(None);
        };
        // The document of a node that was just told of a rotation may be of the key before.
        let signing = self.signer.current();
        let keys = signing.keys.at(Timestamp(0));
        let document = signed::body::<PeerDocument>(text.as_bytes(), keys);
        let document = document.map_err(|error| StoreError::Content(error.to_string()))?;
        let asks = document
            .rules
            .iter()
            .find(|known| known.origin == rule && known.principals.contains(&source));
        Ok(asks.and_then(|rule| match rule.action {
            Action::Accept => None,
            Action::Check(CheckPeriod::Default) => Some(Period::Default),
            Action::Check(CheckPeriod::Always) => Some(Period::Always),
            Action::Check(CheckPeriod::Seconds(seconds)) => Some(Period::Seconds(seconds)),
        }))
    }
}

impl Needed<'_> {
    /// Until when this approval does for the login; none where it does not.
    fn end_of(&self, approval: &Approval) -> Option<Timestamp> {
        let same_source = approval.source == self.source.id
            && approval.wireguard_key == self.source.wireguard_key
            && approval.owner == self.owner
            && approval.class == self.class;
        if !same_source {
            return None;
        }
        let seconds = match self.period {
            Period::Default => DEFAULT_CHECK_SECONDS,
            Period::Always => HOLD_SECONDS,
            Period::Seconds(seconds) => seconds,
        };
        let here = approval.destination == Some(self.destination.id);
        let fits = match self.period {
            Period::Always => here && approval.connection.as_deref() == Some(self.connection),
            Period::Seconds(_) if approval.is_ahead => self.is_target(approval),
            Period::Seconds(_) => here && approval.connection.is_none(),
            Period::Default if approval.is_ahead => self.is_target(approval),
            Period::Default => approval.destination.is_none(),
        };
        let end = approval.approved_at.plus(seconds);
        fits.then_some(end.min(approval.expires_at))
    }

    fn is_target(&self, approval: &Approval) -> bool {
        match approval.target.as_deref() {
            None => true,
            Some(target) if target == self.destination.name.as_str() => true,
            Some(target) => match &self.destination.owner {
                Owner::Tags(tags) => tags.iter().any(|tag| tag == target),
                Owner::User(_) => false,
            },
        }
    }
}

impl Check {
    /// The node that waits for the answer.
    pub(crate) fn waits_at(&self) -> NodeId {
        match self.subject {
            Subject::Login { destination, .. } => destination,
            Subject::Ahead { .. } => self.source,
        }
    }

    fn approval(&self, at: Timestamp) -> Approval {
        let (mut destination, mut only, mut ends) = (None, None, LONGEST_SECONDS);
        let (mut is_ahead, mut to) = (false, None);
        match &self.subject {
            Subject::Login {
                destination: node,
                period,
                connection,
                ..
            } => {
                destination = (*period != Period::Default).then_some(*node);
                only = connection.clone();
                if only.is_some() {
                    ends = HOLD_SECONDS;
                }
            }
            Subject::Ahead { seconds, target } => {
                (is_ahead, ends) = (true, *seconds);
                to = target.clone();
            }
        }
        Approval {
            id: 0,
            source: self.source,
            wireguard_key: self.wireguard_key,
            owner: self.owner.clone(),
            class: self.class,
            destination,
            connection: only,
            is_ahead,
            target: to,
            approved_at: at,
            expires_at: at.plus(ends),
        }
    }
}

fn random_id() -> Result<String, ApiError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| ApiError::Busy)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

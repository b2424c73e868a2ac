//! Orders and reloads: what operators change while the switch runs. Whatever is refused has changed nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::config::diff;
use crate::config::edit::Edit;
use crate::config::valid::{AdminState, Config};
use crate::control::compile::CompileError;
use crate::control::orders::{Change, Order, Outcome, Refusal, Reload};
use crate::control::requests::Request;
use crate::control::{ConfigFile, ports};

use super::Follower;
use super::differences::{beyond_a_bridge, keep_fixed};

/// The configuration's file, for a thread that may wait for a disk.
pub(super) type SharedFile = Arc<Mutex<Box<dyn ConfigFile>>>;

/// Orders and reloads that may wait while the file is read or written; the next ones wait before they are taken in.
const MOST_HELD: usize = 64;

impl Follower {
    /// Does what is asked and answers.
    pub(super) async fn serve(&mut self, request: Request, file: &SharedFile) {
        self.catch_up();
        // Whoever asked may have gone meanwhile: then nobody hears the answer.
        match request {
            Request::Order(order, answer) => {
                let outcome = self.order(&order, file).await;
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "an order was refused");
                }
                let _ = answer.send(outcome);
            }
            Request::Reload(reload, answer) => {
                let _ = answer.send(self.reload(reload, file).await);
            }
            Request::Look(answer) => {
                let _ = answer.send(self.serving.view(Instant::now()));
            }
        }
    }

    async fn order(&mut self, order: &Order, file: &SharedFile) -> Result<Outcome, Refusal> {
        let former = self.serving.roster.clone();
        let change = self.serving.roster.order(order, Instant::now()).map_err(Refusal::Conflict)?;
        if let Err(error) = self.apply().await {
            self.serving.roster = former;
            return Err(cannot_be_compiled(error));
        }
        tracing::info!("changed at run time: {change}");
        let mut outcome =
            Outcome { changes: vec![change], epoch: self.state.snapshot.epoch, ..Outcome::default() };
        if order.save {
            let edit = edit(order);
            match self.aside(file, move |file| file.save(&[edit])).await {
                Ok(()) => self.serving.roster.saved(order, Instant::now()),
                Err(error) => {
                    let said = format!("the change is in force, but was not saved: {error}");
                    return Err(Refusal::Conflict(said));
                }
            }
            outcome.changes.push("written to the configuration file".to_owned());
        }
        Ok(outcome)
    }

    /// Reads the file again. A dry run only says what would change.
    pub(super) async fn reload(&mut self, reload: Reload, file: &SharedFile) -> Result<Outcome, Refusal> {
        if !reload.dry_run {
            self.supervisor.reloading();
        }
        let outcome = self.try_reload(reload, file).await;
        if !reload.dry_run {
            let reloads = &mut self.serving.reloads;
            reloads.last_refused = outcome.is_err();
            *if reloads.last_refused { &mut reloads.refused } else { &mut reloads.done } += 1;
        }
        match &outcome {
            Ok(_) if reload.dry_run => {}
            Ok(Outcome { changes, overruled, kept, epoch, .. }) => {
                for change in changes.iter().chain(overruled) {
                    tracing::info!("reload: {change}");
                }
                let (changes, orders) = (changes.len(), kept.len());
                tracing::info!(epoch, changes, orders, "configuration reloaded");
            }
            Err(error) => tracing::error!("the configuration was not reloaded, nothing changed:\n{error}"),
        }
        if !reload.dry_run {
            let refused = if outcome.is_err() { "; the last reload was refused, see the log" } else { "" };
            self.supervisor.ready(&(self.summary() + refused));
        }
        outcome
    }

    async fn try_reload(&mut self, reload: Reload, file: &SharedFile) -> Result<Outcome, Refusal> {
        let read = move |file: &mut dyn ConfigFile| {
            let problem = if reload.dry_run { None } else { file.refresh() };
            Ok((file.load()?, problem))
        };
        let (loaded, problem) = self.aside(file, read).await.map_err(Refusal::Invalid)?;
        let (switch, warnings) = keep_fixed(&self.state.config.switch, loaded.config.switch);
        let config = Config { switch, ..loaded.config };
        if beyond_a_bridge(&config) {
            let said = "until the next start the switch is a bridge, which has \"nat\" services only and no [[snat]]";
            return Err(Refusal::Conflict(said.to_owned()));
        }
        ports::check(&config, &self.state.view).map_err(|error| Refusal::Conflict(error.to_string()))?;
        let former = &self.serving.roster;
        let mut roster = former.clone();
        roster.load(config, Instant::now());
        let orders = roster.orders_since(former);
        let mut outcome = Outcome {
            changes: diff::difference(&former.listed(), &roster.listed()),
            overruled: orders.overruled,
            kept: orders.kept,
            warnings: loaded
                .warnings
                .iter()
                .map(ToString::to_string)
                .chain(warnings)
                .chain(problem)
                .collect(),
            epoch: self.state.snapshot.epoch,
        };
        if !reload.dry_run {
            let former = std::mem::replace(&mut self.serving.roster, roster);
            if let Err(error) = self.apply().await {
                self.serving.roster = former;
                return Err(cannot_be_compiled(error));
            }
            outcome.epoch = self.state.snapshot.epoch;
        }
        Ok(outcome)
    }

    /// Has the file read or written on a thread that may wait, and goes on with everything but orders and reloads meanwhile:
    /// of those, one is done after the other.
    async fn aside<T: Send + 'static>(
        &mut self,
        file: &SharedFile,
        work: impl FnOnce(&mut dyn ConfigFile) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let file = Arc::clone(file);
        let mut working = tokio::task::spawn_blocking(move || {
            work(&mut **file.lock().unwrap_or_else(PoisonError::into_inner))
        });
        loop {
            tokio::select! {
                done = &mut working => return done.map_err(|error| error.to_string())?,
                _ = self.turns.tick() => self.turn().await,
                notice = self.netlink.next(), if !self.lost => self.note(notice),
                Some(request) = self.requests.recv(), if self.held.len() < MOST_HELD => match request {
                    Request::Look(answer) => drop(answer.send(self.serving.view(Instant::now()))),
                    change => self.held.push_back(change),
                },
            }
        }
    }
}

fn cannot_be_compiled(error: CompileError) -> Refusal {
    Refusal::Conflict(error.to_string())
}

/// The order as a change to the file.
fn edit(order: &Order) -> Edit {
    let state = match order.change {
        Change::Enable => Some(AdminState::Enabled),
        Change::Drain => Some(AdminState::Drain),
        Change::Disable => Some(AdminState::Disabled),
        Change::Weight(_) => None,
    };
    match order.backend {
        Some(address) => {
            let weight = if let Change::Weight(weight) = order.change { Some(weight) } else { None };
            Edit::Backend { service: order.service.clone(), address, state, weight }
        }
        None => Edit::Service { name: order.service.clone(), state: state.unwrap_or_default() },
    }
}

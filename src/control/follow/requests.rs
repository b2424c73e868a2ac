//! Orders and reloads: what operators change while the switch runs. Whatever is refused has changed nothing.

use std::time::Instant;

use crate::config::diff;
use crate::config::edit::Edit;
use crate::config::valid::{AdminState, Config};
use crate::control::orders::{Change, Order, Outcome, Reload};
use crate::control::requests::Request;
use crate::control::{ConfigFile, ports};

use super::Follower;
use super::differences::{beyond_a_bridge, keep_fixed};

impl Follower {
    /// Does what is asked and answers.
    pub(super) async fn serve(&mut self, request: Request, file: &mut dyn ConfigFile) {
        self.catch_up();
        // Whoever asked may have gone meanwhile: then nobody hears the answer.
        match request {
            Request::Order(order, answer) => {
                let outcome = self.order(&order, file).await;
                if let Err(error) = &outcome {
                    tracing::warn!(error, "an order was refused");
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

    async fn order(&mut self, order: &Order, file: &mut dyn ConfigFile) -> Result<Outcome, String> {
        let former = self.serving.roster.clone();
        let change = self.serving.roster.order(order, Instant::now())?;
        if let Err(error) = self.apply().await {
            self.serving.roster = former;
            return Err(error.to_string());
        }
        tracing::info!("changed at run time: {change}");
        let mut outcome =
            Outcome { changes: vec![change], warnings: Vec::new(), epoch: self.state.snapshot.epoch };
        if order.save {
            match file.save(&[edit(order)]) {
                Ok(()) => self.serving.roster.saved(order, Instant::now()),
                Err(error) => return Err(format!("the change is in force, but was not saved: {error}")),
            }
            outcome.changes.push("written to the configuration file".to_owned());
        }
        Ok(outcome)
    }

    /// Reads the file again. A dry run only says what would change.
    pub(super) async fn reload(
        &mut self,
        reload: Reload,
        file: &mut dyn ConfigFile,
    ) -> Result<Outcome, String> {
        let outcome = self.try_reload(reload, file).await;
        match &outcome {
            Ok(_) if reload.dry_run => {}
            Ok(Outcome { changes, epoch, .. }) => {
                for change in changes {
                    tracing::info!("reload: {change}");
                }
                tracing::info!(epoch, changes = changes.len(), "configuration reloaded");
            }
            Err(error) => tracing::error!("the configuration was not reloaded, nothing changed:\n{error}"),
        }
        outcome
    }

    async fn try_reload(&mut self, reload: Reload, file: &mut dyn ConfigFile) -> Result<Outcome, String> {
        let loaded = file.load()?;
        let (switch, warnings) = keep_fixed(&self.state.config.switch, loaded.config.switch);
        let config = Config { switch, ..loaded.config };
        if beyond_a_bridge(&config) {
            return Err("until the next start the switch is a bridge, which has \"nat\" services only and no [[snat]]"
                .to_owned());
        }
        ports::check(&config, &self.state.view).map_err(|error| error.to_string())?;
        let changes = diff::difference(self.serving.roster.file(), &config);
        let warnings = loaded.warnings.iter().map(ToString::to_string).chain(warnings).collect();
        if !reload.dry_run {
            let former = self.serving.roster.clone();
            self.serving.roster.load(config, Instant::now());
            if let Err(error) = self.apply().await {
                self.serving.roster = former;
                return Err(error.to_string());
            }
        }
        Ok(Outcome { changes, warnings, epoch: self.state.snapshot.epoch })
    }
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

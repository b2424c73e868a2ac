//! Scheduler tables, rebuilt only when what they are built from changed: a Maglev table costs milliseconds.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::valid::{self, Scheduler};
use crate::tables::scheduler::greatest_common_divisor;
use crate::tables::{
    Backend, BackendId, Maglev, MaglevMember, RoundRobin, SchedulerTable, ServiceId, Weighted,
};

/// Everything that a table depends on.
#[derive(Debug, PartialEq, Eq)]
struct Ingredients {
    scheduler: Scheduler,
    maglev_table_size: u32,
    members: Vec<(BackendId, u32)>,
}

/// The tables of the latest snapshot.
#[derive(Debug, Default)]
pub(super) struct Schedulers(HashMap<ServiceId, (Ingredients, Arc<SchedulerTable>)>);

impl Schedulers {
    /// The table of a service: the one of the snapshot before, if it would come out the same.
    pub(super) fn table(
        &mut self,
        id: ServiceId,
        service: &valid::Service,
        takers: &[(&Backend, u8)],
    ) -> Arc<SchedulerTable> {
        let ingredients = Ingredients {
            scheduler: service.scheduler,
            maglev_table_size: service.maglev_table_size,
            members: members(service.scheduler, takers),
        };
        if let Some((before, table)) = self.0.get(&id)
            && *before == ingredients
        {
            return Arc::clone(table);
        }
        let table = Arc::new(build(&ingredients, takers));
        self.0.insert(id, (ingredients, Arc::clone(&table)));
        table
    }

    /// Forgets the tables of services that are gone.
    pub(super) fn retain(&mut self, services: &[ServiceId]) {
        if self.0.len() > services.len() {
            let services: std::collections::HashSet<_> = services.iter().collect();
            self.0.retain(|id, _| services.contains(id));
        }
    }
}

/// The weights that the scheduler goes by, as small as they can be: where every share is the same, shares change nothing, and
/// a round is as short as the weights of the configuration make it.
fn members(scheduler: Scheduler, takers: &[(&Backend, u8)]) -> Vec<(BackendId, u32)> {
    let weight = |backend: &Backend, share: u8| match scheduler {
        // These treat backends alike, but for those that start slowly.
        Scheduler::RoundRobin | Scheduler::LeastConnections => u32::from(share),
        _ => backend.weight.saturating_mul(u32::from(share)),
    };
    let mut members: Vec<_> =
        takers.iter().map(|(backend, share)| (backend.id, weight(backend, *share))).collect();
    let divisor =
        |divisor, (_, weight): &(BackendId, u32)| greatest_common_divisor(divisor, u64::from(*weight));
    let divisor = members.iter().fold(0, divisor).max(1) as u32;
    members.iter_mut().for_each(|(_, weight)| *weight /= divisor);
    members
}

fn build(
    Ingredients { scheduler, maglev_table_size, members }: &Ingredients,
    takers: &[(&Backend, u8)],
) -> SchedulerTable {
    let maglev = || {
        let member = |((id, weight), (backend, _)): (&(BackendId, u32), &(&Backend, u8))| MaglevMember {
            id: *id,
            identity: backend.address.to_string(),
            weight: *weight,
        };
        Maglev::build(*maglev_table_size, members.iter().zip(takers).map(member).collect())
    };
    match scheduler {
        // The share that agents report is a part of the weight already.
        Scheduler::RoundRobin | Scheduler::WeightedRoundRobin | Scheduler::Resource => {
            SchedulerTable::RoundRobin(RoundRobin::weighted(members))
        }
        Scheduler::FlowHash => SchedulerTable::FlowHash(RoundRobin::weighted(&by_address(members, takers))),
        Scheduler::Maglev => SchedulerTable::Maglev(maglev()),
        Scheduler::SourceHash => SchedulerTable::SourceHash(maglev()),
        Scheduler::LeastConnections | Scheduler::WeightedLeastConnections => {
            SchedulerTable::LeastConnections(Weighted::of(members))
        }
        Scheduler::LeastResponseTime => SchedulerTable::LeastResponseTime(Weighted::of(members)),
        Scheduler::TwoChoices => SchedulerTable::TwoChoices(Weighted::of(members)),
    }
}

/// In an order in which another switch has them, too, whatever the order of its configuration.
fn by_address(members: &[(BackendId, u32)], takers: &[(&Backend, u8)]) -> Vec<(BackendId, u32)> {
    let mut members: Vec<_> =
        members.iter().zip(takers).map(|(member, (backend, _))| (backend.address, *member)).collect();
    members.sort_unstable_by_key(|(address, _)| *address);
    members.into_iter().map(|(_, member)| member).collect()
}

#[cfg(test)]
mod tests;
